// State transfer: to a peer that the log does not reach any more goes what the tables hold, row by
// row with its stamps, and is merged there by the rules of any patch. See docs/protocol.md.
#pragma once
#include "merge.h"
#include "state_chunk.h"

namespace mergelite {

struct StateRead {
  bool busy = false;
  bool more = false;  // row clocks had to be folded first: call again
  bool ends = false;  // this was the last chunk
  Bytes chunk;        // empty when `busy` or `more`
  Bytes next;         // the cursor behind it
  Text table;
  uint64_t rows = 0;
};
// One consistent read from `cursor` on: at most about `bytes_max` bytes or `budget_ms`, at least
// one row.
int ReadState(Connection* connection, Span cursor, size_t bytes_max, double budget_ms,
              StateRead* read);

// What a transfer has brought so far; kept in the file with every slice.
struct StateProgress {
  bool exists = false;
  Bytes cursor;                     // where to go on
  std::vector<StateOrigin> vector;  // what all chunks so far have in common; empty before the first
  uint64_t rows = 0;
};
int ReadStateProgress(Connection* connection, StateProgress* progress);
// Begins a transfer, or goes on with one at whatever peer: parked patches come again. `restart`
// forgets one that was begun; what it brought stays.
int StartState(Connection* connection, bool restart, StateProgress* progress);

struct StateMerge {
  MergeStats stats;       // `consumed` is an offset into the chunk's items
  uint64_t rows = 0;      // merged or deleted in this slice
  bool complete = false;  // this was the last slice of the last chunk: the vector is claimed
};
struct StateMessage {
  Span chunk;
  Span next;           // the sender's cursor behind the chunk
  size_t offset = 0;   // where the slice before this one stopped
  bool again = false;  // this is not the first slice of the chunk
};
// Merges a chunk for about `budget_ms`, in one transaction with the row clocks and the progress.
int MergeChunk(Connection* connection, const StateMessage& message, double budget_ms,
               StateMerge* merge);

// A number that two peers share when they sort the table's keys the same way.
int KeyOrder(Connection* connection, Table* table, uint64_t* order);

}  // namespace mergelite
