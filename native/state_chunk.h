// The bytes of a state transfer: a chunk of rows with their stamps, and the cursor that says where
// the next one begins. Specified byte by byte in docs/format.md.
#pragma once
#include <vector>

#include "codec.h"

namespace mergelite {

constexpr uint8_t kStateFormat = 1;
constexpr uint8_t kStateTableEnds = 1;  // the sender has no key after the last one of this chunk
constexpr uint8_t kStateEnds = 2;       // ... and no table after this one

// What the sender has merged of an origin, and the timestamp of the newest changeset of that.
struct StateOrigin {
  uint64_t peer = 0;
  uint64_t sequence = 0;
  uint64_t timestamp = 0;
};

struct StateChunk {
  uint8_t flags = 0;
  uint64_t swept = 0;  // the sender knows of no tombstone below this timestamp
  std::vector<StateOrigin> vector;
  std::vector<Span> shapes;  // descriptors; the first is that of the table
  Span table;                // empty for a chunk of parked patches
  uint64_t order = 0;        // peers with the same number sort the table's keys the same way
  // The key, encoded, behind which the rows begin; empty at the start. Of parked patches the id, as
  // a varint.
  Span after;
  uint64_t item_count = 0;
  Span items;
};
void EncodeStateChunk(const StateChunk& chunk, Bytes* out);
DecodeError DecodeStateChunk(Span bytes, StateChunk* chunk);

// One patch of a row, with its own stamp. A row's items come together: its insert or delete, then
// columns set later, then what is parked for it.
struct StateItem {
  uint64_t origin = 0;   // position in the chunk's vector
  bool goes_on = false;  // the next item is of the same row
  bool mention = false;  // the patch only names the row
  bool unborn = false;   // ... of which the sender knows neither an insert nor a delete
  uint64_t timestamp = 0;
  uint64_t sequence = 0;  // 0 for what the row holds
  Span patch;             // as in a payload
};
void AppendStateItem(const StateItem& item, Bytes* out);
bool ReadStateItem(Reader* in, size_t origins, StateItem* item);

// Where a transfer stands. First come the parked patches, then the tables in the order of names.
struct StateCursor {
  bool rows = false;
  uint64_t parked_after = 0;
  Span table;  // empty for the first
  uint64_t order = 0;
  Span after;
};
void EncodeStateCursor(const StateCursor& cursor, Bytes* out);
// An empty span is the beginning.
bool DecodeStateCursor(Span bytes, StateCursor* cursor);

void AppendStateVector(const std::vector<StateOrigin>& vector, Bytes* out);
bool ReadStateVector(Reader* in, std::vector<StateOrigin>* vector);

}  // namespace mergelite
