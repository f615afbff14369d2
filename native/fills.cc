#include "fills.h"

#include "bootstrap.h"
#include "hlc.h"
#include "merge.h"
#include "parked.h"
#include "slice_writer.h"
#include "table_sql.h"

namespace mergelite {
namespace {

class Fills {
 public:
  Fills(Connection* connection, Table* table)
      : connection_(connection),
        table_(table),
        shape_(*table->shape),
        key_(table->shape->keys.size()) {}

  int Collect(size_t column) {
    column_ = column;
    Text fallback, sql("SELECT ");
    int rc = ReadDefault(connection_, table_->name, shape_.columns[column], &fallback);
    if (rc != SQLITE_OK) return rc;
    AppendKeyNames(&sql, shape_);
    (sql << ", ").Name(shape_.columns[column].c_str()) << " FROM ";
    AppendTableName(&sql, *table_);
    (sql << " WHERE ").Name(shape_.columns[column].c_str()) << " IS NOT (" << fallback << ")";
    Statement rows;
    rc = connection_->Check(rows.Prepare(connection_->api, connection_->db, sql.c_str()));
    while (rc == SQLITE_OK && (rc = rows.Step()) == SQLITE_ROW) rc = CollectRow(&rows);
    return connection_->Check(rc);
  }

  int Write() {
    if (!keep_) return SQLITE_OK;
    Statement sorted;
    int rc = connection_->Check(
        sorted.Prepare(connection_->api, connection_->db,
                       "SELECT timestamp, patch FROM temp._mergelite_fills ORDER BY timestamp"));
    std::unique_ptr<SliceWriter> writer;
    while (rc == SQLITE_OK && (rc = sorted.Step()) == SQLITE_ROW) {
      const auto timestamp = static_cast<uint64_t>(sorted.ColumnInteger(0));
      rc = SQLITE_OK;
      if (writer != nullptr && writer->timestamp() != timestamp) {
        rc = writer->Write();
        writer.reset();
      }
      if (writer == nullptr) {
        writer = std::make_unique<SliceWriter>(connection_, shape_.hash, timestamp);
      }
      writer->body()->Append(sorted.ColumnBytes(1));
      if (rc == SQLITE_OK) rc = writer->Added();
    }
    if (rc == SQLITE_OK && writer != nullptr) rc = writer->Write();
    sorted.Finalize();
    keep_.Finalize();
    if (rc == SQLITE_OK) rc = connection_->Execute("DROP TABLE temp._mergelite_fills");
    return connection_->Check(rc);
  }

 private:
  int CollectRow(Statement* row) {
    Bytes patch;
    patch.Varint(PatchHead(0, Operation::kUpdate));
    for (size_t i = 0; i < key_.size(); i++) {
      row->ColumnAny(static_cast<int>(i), &key_[i]);
      if (key_[i].type == Type::kNull) return SQLITE_OK;
      AppendValue(&patch, key_[i]);
    }
    IdentityOf(shape_, key_.data(), &identity_);
    // Row clocks have to know all that is in the log; a column that nothing fills asks for none.
    int rc = folded_ ? SQLITE_OK : FoldEverything(connection_);
    folded_ = true;
    if (rc != SQLITE_OK) return rc;
    Clocks& clocks = connection_->merge->clocks;
    rc = clocks.LookUp(connection_, table_, identity_.span(), key_.data(), &clock_);
    bool told = false;
    if (rc == SQLITE_OK && clock_.alive) {
      rc = IsParkedSince(connection_, *table_, identity_.span(), {column_, clock_.life}, &told);
    }
    if (rc != SQLITE_OK || !clock_.alive || told) return rc;
    const size_t bytes = shape_.bitmap_bytes();
    memset(patch.Reserve(bytes), 0, bytes);
    patch.data()[patch.size() + column_ / 8] = static_cast<uint8_t>(1u << (column_ % 8));
    patch.Advance(bytes);
    Value value;
    row->ColumnAny(static_cast<int>(key_.size()), &value);
    AppendValue(&patch, value);
    return Keep(FillAfter(clock_.Of(table_->column_ids[column_]).timestamp), patch);
  }

  int Keep(uint64_t timestamp, const Bytes& patch) {
    if (!keep_) {
      // A changeset has one timestamp: they are sorted by it, in a table for they may be many.
      int rc = connection_->Execute(
          "CREATE TEMP TABLE _mergelite_fills (timestamp INTEGER NOT NULL, patch BLOB NOT NULL)");
      if (rc == SQLITE_OK) {
        rc = connection_->Prepare(&keep_, "INSERT INTO temp._mergelite_fills VALUES (?1, ?2)");
      }
      if (rc != SQLITE_OK) return rc;
    }
    // Without room for one more the value counts as written now.
    if (timestamp == 0) {
      timestamp = Tick(connection_->log.newest_timestamp(), connection_->NowMs());
      connection_->log.Observe(timestamp);
    }
    keep_.Integer(1, static_cast<int64_t>(timestamp));
    keep_.Bytes(2, patch.span());
    return connection_->Check(keep_.Run());
  }

  Connection* connection_;
  Table* table_;
  const Shape& shape_;
  size_t column_ = 0;
  bool folded_ = false;
  std::vector<Value> key_;
  Bytes identity_;
  RowClock clock_;
  Statement keep_;
};

}  // namespace

int LogFills(Connection* connection, Table* table, const Shape& known) {
  int rc = SQLITE_OK;
  Fills fills(connection, table);
  for (size_t i = 0; rc == SQLITE_OK && i < table->shape->columns.size(); i++) {
    bool there = false;
    for (const Text& column : known.columns) {
      if (SameName(column.c_str(), table->shape->columns[i].c_str())) there = true;
    }
    if (!there) rc = fills.Collect(i);
  }
  if (rc == SQLITE_OK) rc = fills.Write();
  return rc == SQLITE_OK ? connection->log.SaveOrigins(connection) : rc;
}

}  // namespace mergelite
