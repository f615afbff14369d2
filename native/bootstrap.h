// The first changesets of a table that has rows already.
#pragma once
#include "catalog.h"

namespace mergelite {

// `returning`: the table was replicated from this file before, so that what was deleted meanwhile
// has to be told as well, and with a fresh stamp.
int LogExistingRows(Connection* connection, Table* table, bool returning);

// The text of a column's DEFAULT, NULL when it has none.
int ReadDefault(Connection* connection, const Text& table, const Text& column, Text* expression);

// Columns that `before` did not have, where a row holds something besides the default: written
// after the column was added and before capture knew of it.
int LogNewColumns(Connection* connection, Table* table, const Shape& before);

}  // namespace mergelite
