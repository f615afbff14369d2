// Rows of a chunk that goes where this file knows of no row: nothing can lose or be in the way, so
// one statement writes the clocks of many rows and another the rows.
#pragma once
#include "state_items.h"

namespace mergelite {

class FreshRows {
 public:
  FreshRows(Connection* connection, const StateChunk& chunk, StateItems* items)
      : connection_(connection), chunk_(chunk), items_(*items) {}

  // Whether rows of this table can be written so: none of its triggers would fire, and little is
  // parked. Before the first Merge().
  int Open(Table* table, bool* fits);
  // Merges rows from `in` on, `rows_max` at most; `last` becomes the key of the last one.
  int Merge(Reader* in, uint64_t rows_max, uint64_t* merged, Span* last);

 private:
  enum class Kind : uint8_t {
    kNothing,  // the sender only names it
    kShown,
    kDeleted,
    kPatches,  // to be merged patch by patch
  };
  struct Row {
    Kind kind = Kind::kNothing;
    const uint8_t* items = nullptr;
    uint64_t patches = 0;
    size_t clock = 0;  // offset
    size_t clock_size = 0;
  };
  class ClockFeed;
  class ShownFeed;

  int LookForParked(const Table& table, bool* fits);
  int Prepare();
  int ReadRow(Reader* in, Span* last);
  Kind Begin(const StateItem& item, const Patch& patch, const Stamp& stamp);
  bool IsParked(const Patch& patch);
  void Update(const Patch& patch, const Stamp& stamp);
  int StampOf(const StateItem& item, Stamp* stamp);
  int WriteClocks();
  int WriteRows();
  int MergePatches();
  size_t width() const;

  Connection* connection_;
  const StateChunk& chunk_;
  StateItems& items_;
  Target* target_ = nullptr;
  std::vector<Row> rows_;
  std::vector<Value> values_;  // of each row its key, then the columns of the shape
  Bytes clocks_;
  RowClock clock_;
  std::vector<Bytes> parked_;  // identities for which something is, in order
  Bytes identity_;
  std::vector<const Origin*> origins_;  // by their position in the chunk
};

}  // namespace mergelite
