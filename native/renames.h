// Tables and columns that have another name than before: the triggers that stood through the change
// tell, for SQLite has rewritten them.
#pragma once
#include "catalog.h"

namespace mergelite {

// What a replicated table's triggers say of it after a schema change.
struct Tracked {
  Text table;               // that carries them; empty: they are gone, and so is what they knew
  std::vector<Text> names;  // of the key and the other columns of the shape they capture
};
int ReadTracked(Connection* connection, const Table& table, Tracked* tracked);
// The shape under the names of today. Columns that were dropped keep the name they had.
Shape UnderNewNames(const Shape& shape, const Tracked& tracked);

// Gives a table its new name in everything that is kept for it. Patches under the old one go on
// arriving, and are taken for its own.
int MoveTable(Connection* connection, const Table& table, const Text& name);
// The same for the columns of a key, in the table of row clocks. `known` has its name.
int RenameKeys(Connection* connection, const Shape& before, const Shape& known);
// Saves the names of a table's columns: what was renamed keeps the id by which row clocks know it.
// `before` has the names of before, `known` the same columns under today's; both null for a table
// that was not replicated until now.
int SaveColumns(Connection* connection, int64_t table_id, const Shape& now, const Shape* before,
                const Shape* known);

}  // namespace mergelite
