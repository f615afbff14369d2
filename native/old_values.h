// Which tables keep old values, and the old values that the file has: one row a changeset of its
// own, beside the log and under the same id.
#pragma once
#include <vector>

#include "log.h"

namespace mergelite {

// The tables that keep them from now on, whoever writes the file: those named, or all, later ones
// included.
int KeepOldValues(Connection* connection, const std::vector<Text>& names, bool all);

// Those of an origin's changesets in (after, last].
int DropOldValues(Connection* connection, const Origin& origin, uint64_t after, uint64_t last);
// Those with ids in (after, last], whose changesets move.
int MoveOldValues(Connection* connection, int64_t after, int64_t last, int64_t by);

}  // namespace mergelite
