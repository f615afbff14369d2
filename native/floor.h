// What this file has promised its cluster, and tombstones that nothing can need any more. The
// agreement itself is src/sync/floor.ts; docs/decisions says why it holds.
#pragma once
#include "merge.h"

namespace mergelite {

struct FloorRecord {
  Bytes state;            // as src/sync/floor.ts encodes it; empty at first
  uint64_t revision = 0;  // counts what was saved
  uint64_t bound = 0;     // this file writes nothing stamped below it
  uint64_t swept = 0;     // tombstones below it are gone, here or where rows came from
  bool transfer = false;  // rows instead of log have begun to come, and not ended
};
int ReadFloor(Connection* connection, FloorRecord* record);

struct FloorSave {
  bool busy = false;
  bool stale = false;  // another connection has saved since `revision`
};
// From the commit on, nothing here is stamped below the bound, which never falls.
int SaveFloor(Connection* connection, const FloorRecord& record, FloorSave* save);

struct TombstoneSweep {
  Text table;  // where to go on: behind `after` in this table; both empty at the start
  Bytes after;
  uint64_t dropped = 0;
  uint64_t kept = 0;  // row clocks of dead rows that stay
  bool busy = false, more = false;
};
// Drops row clocks of rows that died below `horizon`, and what is parked for them, for a while.
// Everyone who may write has merged all there is below it, so nothing asks for these any more.
int SweepTombstones(Connection* connection, uint64_t horizon, double budget_ms,
                    TombstoneSweep* sweep);

}  // namespace mergelite
