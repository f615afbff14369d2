// Trimming the log: changesets whose row clocks are in the clock tables are needed only by peers
// that have not merged them yet, and those get the rows instead (see state.h).
#pragma once
#include <vector>

#include "merge.h"

namespace mergelite {

struct TrimPlan {
  // An origin's oldest changesets go, up to the first one stamped later than this and not held by
  // everyone.
  uint64_t timestamp = 0;
  struct Held {
    uint64_t peer, sequence;
  };
  std::vector<Held> held_by_all;
  // Nobody else is known: what this peer wrote goes too. Else only what another peer holds does.
  bool alone = false;
  std::vector<Held> acknowledged;  // highest sequences that another peer holds
};

struct TrimStats {
  uint64_t changesets = 0;
  bool busy = false, more = false;
};

// For about `budget_ms`, in one transaction that moves the marks and deletes the rows. The newest
// changeset of each of this file's own peer ids stays: the log's tail tells their sequence.
int TrimLog(Connection* connection, const TrimPlan& plan, double budget_ms, TrimStats* stats);

// Brings every row clock into the clock tables, for a while. When `done`, the folded marks are the
// merged ones and memory holds none.
int FoldAll(Connection* connection, const Deadline& deadline, bool* done);

}  // namespace mergelite
