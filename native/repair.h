// Repair: rows in which two peers differ although both have merged the same, because something has
// written behind the library's back. Each takes what the other's row clocks say; what they do not
// tell apart becomes a new write. See docs/decisions/0018-repair.md.
#pragma once
#include "merge.h"

namespace mergelite {

// Of keys, each with its length before it.
struct RowsRead {
  bool busy = false;
  bool more = false;  // row clocks had to be folded first: call again
  uint64_t keys = 0;  // how many of them the chunk covers, at least one
  uint64_t rows = 0;  // items' rows: keys that have no clock are left out
  Bytes chunk;        // as of a state transfer, not in the order of keys
};
int ReadRowsOf(Connection* connection, const char* table, Span keys, size_t bytes_max,
               double budget_ms, RowsRead* read);

struct RowsRepaired {
  MergeStats stats;
  bool behind = false;     // the sender lacks what is trimmed here: it needs state, not repair
  uint64_t taken = 0;      // rows that are other than before
  uint64_t rewritten = 0;  // rows that became a new write of this peer
};
// Merges a chunk, or none when it is empty, and then records rows of `keys` that nobody captured.
// Where values differ under one stamp the sender's are taken, and written anew. All in one
// transaction; the budget is for what has to be folded before.
int RepairRows(Connection* connection, const char* table, Span keys, Span chunk, double budget_ms,
               RowsRepaired* repaired);

}  // namespace mergelite
