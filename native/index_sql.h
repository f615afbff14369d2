// The text of a CREATE INDEX statement, taken apart: SQLite tells the names of an index's columns,
// but what an expression or a partial index says only its statement has.
#pragma once
#include <vector>

#include "text.h"

namespace mergelite {

struct IndexSql {
  std::vector<Text> terms;  // as written, without ASC or DESC and without comments
  Text condition;           // of a partial index; empty otherwise
};

// False when `sql` is no CREATE INDEX statement. SQLite has accepted it before, so this need not
// know more of the grammar than quotes, comments and parentheses.
bool ParseIndexSql(const char* sql, IndexSql* out);

}  // namespace mergelite
