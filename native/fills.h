// What a migration fills in: values of new columns that it computes from old ones.
#pragma once
#include "catalog.h"

namespace mergelite {

// Logs, as updates, what the columns that `known` did not have hold besides their default. Each is
// stamped one step above the value it replaces: below every write since, so none is lost to it. A
// row of whose column peers have told is theirs to fill.
int LogFills(Connection* connection, Table* table, const Shape& known);

}  // namespace mergelite
