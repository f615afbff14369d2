// Rows as items of a state chunk: what a row's clock stands for, then what is parked for it.
#pragma once
#include "catalog.h"
#include "row_clock.h"
#include "state_chunk.h"

namespace mergelite {

// `SELECT <clock>, <the row's key>, <the clock's key>, <columns> FROM <clocks> AS c LEFT JOIN
// <table> AS t ON …`: each clock with its row, whose columns are NULL when it is not shown.
void AppendClocksWithRows(Text* sql, const Table& table);

class StateRows {
 public:
  // The chunk has the vector of this moment.
  explicit StateRows(Connection* connection);

  // Before the first row of a table, which is the only one of the chunk.
  int Begin(const Table& table);
  // A row of AppendClocksWithRows.
  int Add(const Table& table, Statement* rows);
  // Of `peer, sequence, timestamp, shape, patch`: a parked patch, which ends its row.
  int AddParkedAlone(Statement* parked);
  void Encode(Bytes* out);

  StateChunk& chunk() { return chunk_; }
  size_t size() const { return items_.size(); }
  // Of the last row.
  Span key() const { return key_.span(); }

 private:
  void AddShown(const Table& table, Statement* rows);
  int LookForParked(const Table& table);
  int AddParkedOf(const Table& table);
  int AddParked(Statement* parked);
  size_t ShapeIndex(const Shape& shape);
  void StartItem(const Stamp& stamp, Operation operation);
  void FlushItem(bool goes_on);

  Connection* connection_;
  StateChunk chunk_;
  std::vector<size_t> index_by_ordinal_;
  std::vector<uint64_t> shape_hashes_;
  std::vector<Bytes> descriptors_;
  Bytes items_, patch_, key_, identity_;
  std::vector<Value> key_values_;
  uint64_t item_count_ = 0;
  StateItem item_;
  bool pending_ = false, any_parked_ = false;
  RowClock clock_;
  Statement parked_;
};

}  // namespace mergelite
