// What starting replication and going on after a schema change have in common.
#pragma once
#include "catalog.h"

namespace mergelite {

bool SameKey(const Shape& a, const Shape& b);
// Notes shape, columns and triggers as the table is now. `before` is the shape it was replicated
// under until now, `known` the same under today's names; both null for none.
int Adopt(Connection* connection, const TableInfo& info, const Shape* before, const Shape* known);

// Brings one table's capture up to date with what the table is now, under whatever name. `step`: a
// migration has altered it, with the companion aside.
int RenewTable(Connection* connection, const Text& name, bool step);

}  // namespace mergelite
