// A file that its cluster went on without, on its way back in: see docs/decisions. When it has
// merged all that a member holds, what only this file knows is issued again as writes of its own,
// at the member's gate or just above the old stamp, and what brought it is given up.
#pragma once
#include "merge.h"

namespace mergelite {

struct Readmission {
  struct Held {
    uint64_t peer, sequence;
  };
  std::vector<Held> vector;       // what the member holds
  std::vector<uint64_t> members;  // whose changesets come by themselves
  uint64_t bound = 0;             // the member's gate: it takes nothing unknown stamped below
};

// Changesets that the member lacks and does not take: of this file's present peer id, and of others
// that this file holds.
struct Unsent {
  bool own = false, others = false;
};
int FindUnsent(Connection* connection, const Readmission& readmission, Unsent* unsent);

struct Reissue {
  Bytes cursor;  // where to go on; empty at the start
  uint64_t patches = 0;
  bool busy = false, more = false;
};
// Rows and columns whose newest stamps are of changesets to be given up: written again into the
// log, for a while. Tables stay as they are.
int ReissueRows(Connection* connection, const Readmission& readmission, double budget_ms,
                Reissue* reissue);

struct GiveUp {
  uint64_t changesets = 0;
  bool busy = false, more = false;
};
// Drops the changesets of other ids that the member lacks, from those on that begin below the
// bound; for a while, the newest first.
int GiveUpChangesets(Connection* connection, const Readmission& readmission, double budget_ms,
                     GiveUp* give_up);

}  // namespace mergelite
