// Statements of the schema, taken apart: SQLite tells the names of an index's columns, but what an
// expression or a partial index says only its statement has.
#pragma once
#include <vector>

#include "text.h"

namespace mergelite {

struct IndexSql {
  std::vector<Text> terms;  // as written, without ASC or DESC and without comments
  Text condition;           // of a partial index; empty otherwise
};

// What stands after the columns of a CREATE TABLE statement.
struct TableOptions {
  bool strict = false;
  bool without_rowid = false;
};
TableOptions ParseTableOptions(const char* sql);

// False when `sql` is no CREATE INDEX statement. SQLite has accepted it before, so this need not
// know more of the grammar than quotes, comments and parentheses.
bool ParseIndexSql(const char* sql, IndexSql* out);

}  // namespace mergelite
