// The items of a received chunk: decoding them, and merging each by the rules of any patch.
#pragma once
#include "merge.h"
#include "state_chunk.h"

namespace mergelite {

class StateItems {
 public:
  StateItems(Connection* connection, const StateChunk& chunk)
      : connection_(connection), chunk_(chunk) {}

  // Stores descriptors that are new here. In a transaction of its own: what points at shapes must
  // not be undone with the rows.
  int LearnShapes(bool* busy);
  // Before items are read.
  int ReadShapes();
  // Decodes everything there is before anything is merged.
  int Validate();
  // Wall time at which the newest stamp may be merged, or 0 when that is now (M9).
  int64_t TooFarAhead() const;
  // What is written here from now on is newer than everything that comes.
  int Observe();
  int Next(Reader* in, StateItem* item, Patch* patch);
  int Merge(const StateItem& item, const Patch& patch);
  // Patches parked from now on may have been parked before.
  int NoteParked();
  int DropRepeated();
  int OriginOf(uint64_t peer, Origin** origin);

 private:
  int Malformed();

  Connection* connection_;
  const StateChunk& chunk_;
  std::vector<const Shape*> shapes_;
  std::unique_ptr<PatchReader> reader_;
  uint64_t newest_ = 0;
  int64_t last_parked_ = 0;
};

// Saves the newest timestamp known, which is not that of the log's tail.
void SaveNewest(Connection* connection);
// Row clocks that no log would bring back have to be in their tables when this commits.
int FoldNow(Connection* connection);

}  // namespace mergelite
