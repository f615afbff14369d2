// Rows from native code to a statement: `FROM mergelite_feed_N(?1)`, with the feed bound as a
// pointer, which SQL cannot make up. One run of a statement then serves many rows, and what SQLite
// does for each run (opening cursors, checking the schema, halting) is done once.
#pragma once
#include "sqlite_api.h"

namespace mergelite {

struct Connection;

class Feed {
 public:
  // The first row, or the next one; false when there is none.
  virtual bool Next() = 0;
  // Must stay valid until the next call of Next().
  virtual const Value& Column(size_t index) const = 0;

 protected:
  ~Feed() = default;
};

// Gives one row for ever, the one it points at: each step of its statement is a look-up.
class RowFeed final : public Feed {
 public:
  void Point(const Value* row) { row_ = row; }
  bool Next() override { return true; }
  const Value& Column(size_t index) const override { return row_[index]; }

 private:
  const Value* row_ = nullptr;
};

// The table that has `columns` columns at least, named v0, v1 and so on.
void AppendFeedName(Text* sql, size_t columns);
int BindFeed(Statement* statement, int index, Feed* feed);

int RegisterFeedTables(Connection* connection, bool there);

}  // namespace mergelite
