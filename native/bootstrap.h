// The first changesets of a table that has rows already.
#pragma once
#include "catalog.h"

namespace mergelite {

// `returning`: the table was replicated from this file before, so that what was deleted meanwhile
// has to be told as well, and with a fresh stamp.
int LogExistingRows(Connection* connection, Table* table, bool returning);

}  // namespace mergelite
