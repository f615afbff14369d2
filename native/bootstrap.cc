#include "bootstrap.h"

#include "clocks.h"
#include "connection.h"
#include "table_sql.h"

namespace mergelite {
namespace {

// One changeset: small enough to merge within a few milliseconds.
constexpr size_t kSliceBytesMax = size_t{64} << 10;

class SliceWriter {
 public:
  SliceWriter(Connection* connection, Table* table, uint64_t timestamp)
      : connection_(connection), table_(table), timestamp_(timestamp) {}

  Bytes* body() { return &body_; }
  int Added() {
    count_++;
    return body_.size() < kSliceBytesMax ? SQLITE_OK : Write();
  }
  int Write() {
    if (count_ == 0) return SQLITE_OK;
    payload_.Clear();
    EncodePayload({0, &table_->shape->hash, 1, count_, body_.span()}, &payload_);
    Origin* self = connection_->log.self();
    const int rc =
        connection_->log.Write(connection_, self->held + 1, timestamp_, payload_.span(), false);
    if (rc != SQLITE_OK) return rc;
    self->merged = ++self->held;
    body_.Clear();
    count_ = 0;
    return SQLITE_OK;
  }

 private:
  Connection* connection_;
  Table* table_;
  uint64_t timestamp_;
  Bytes body_, payload_;
  uint64_t count_ = 0;
};

int LogRows(Connection* connection, Table* table, SliceWriter* writer) {
  const Shape& shape = *table->shape;
  Text sql("SELECT ");
  AppendKeyNames(&sql, shape);
  for (const Text& column : shape.columns) (sql << ", ").Name(column.c_str());
  sql << " FROM ";
  AppendTableName(&sql, *table);
  Statement query;
  int rc = connection->Check(query.Prepare(connection->api, connection->db, sql.c_str()));
  const size_t values = shape.keys.size() + shape.columns.size();
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    Bytes* body = writer->body();
    body->Varint(PatchHead(0, Operation::kInsert));
    for (size_t i = 0; i < values; i++) {
      Value value;
      query.ColumnAny(static_cast<int>(i), &value);
      if (i < shape.keys.size() && value.type == Type::kNull) {
        return connection->Fail("KEY_NULL", "a row has NULL in its key",
                                "Give it a key and declare the column NOT NULL.");
      }
      AppendValue(body, value);
    }
    rc = writer->Added();
  }
  return connection->Check(rc);
}

// Rows that the row clocks say are alive, but that were deleted while nobody captured.
int LogVanishedRows(Connection* connection, Table* table, SliceWriter* writer) {
  const Shape& shape = *table->shape;
  Text sql("SELECT _mergelite_clock, ");
  AppendKeyNames(&sql, shape);
  sql << " FROM ";
  AppendClockName(&sql, *table);
  Statement query;
  int rc = connection->Check(query.Prepare(connection->api, connection->db, sql.c_str()));
  if (rc == SQLITE_OK) rc = PrepareExists(connection, table);
  std::vector<Value> key(shape.keys.size());
  RowClock clock;
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    rc = SQLITE_OK;
    if (!clock.Decode(query.ColumnBytes(0)) || !clock.alive) continue;
    for (size_t i = 0; i < key.size(); i++) query.ColumnAny(static_cast<int>(i) + 1, &key[i]);
    BindKey(&table->exists, key.data(), key.size());
    const int found = table->exists.Step();
    if (found == SQLITE_ROW) {
      rc = connection->Check(table->exists.Reset());
      continue;
    }
    if (found != SQLITE_OK) return connection->Check(found);
    writer->body()->Varint(PatchHead(0, Operation::kDelete));
    for (const Value& value : key) AppendValue(writer->body(), value);
    rc = writer->Added();
  }
  return connection->Check(rc);
}

bool HasColumn(const Shape& shape, const char* name) {
  for (const Text& column : shape.columns) {
    if (SameName(column.c_str(), name)) return true;
  }
  return false;
}

// The text of a column's DEFAULT, NULL when it has none.
int ReadDefault(Connection* connection, const Table& table, const Text& column, Text* expression) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT dflt_value FROM pragma_table_xinfo(?1, 'main') WHERE name = ?2 COLLATE NOCASE"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, table.name.span());
  query.String(2, column.span());
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  *expression << (query.ColumnIsNull(0) ? "NULL" : query.ColumnText(0));
  return connection->Check(query.Reset());
}

int LogColumn(Connection* connection, Table* table, size_t column, SliceWriter* writer) {
  const Shape& shape = *table->shape;
  Text expression;
  int rc = ReadDefault(connection, *table, shape.columns[column], &expression);
  if (rc != SQLITE_OK) return rc;
  Text sql("SELECT ");
  sql.Name(shape.columns[column].c_str()) << ", ";
  AppendKeyNames(&sql, shape);
  sql << " FROM ";
  AppendTableName(&sql, *table);
  (sql << " WHERE ").Name(shape.columns[column].c_str()) << " IS NOT (" << expression << ")";
  Statement query;
  rc = connection->Check(query.Prepare(connection->api, connection->db, sql.c_str()));
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    Bytes* body = writer->body();
    body->Varint(PatchHead(0, Operation::kUpdate));
    Value value;
    for (size_t i = 0; i < shape.keys.size(); i++) {
      query.ColumnAny(static_cast<int>(i) + 1, &value);
      AppendValue(body, value);
    }
    const size_t bytes = shape.bitmap_bytes();
    memset(body->Reserve(bytes), 0, bytes);
    body->data()[body->size() + column / 8] = static_cast<uint8_t>(1u << (column % 8));
    body->Advance(bytes);
    query.ColumnAny(0, &value);
    AppendValue(body, value);
    rc = writer->Added();
  }
  return connection->Check(rc);
}

}  // namespace

int LogNewColumns(Connection* connection, Table* table, const Shape& before) {
  Log& log = connection->log;
  const uint64_t timestamp = Tick(log.newest_timestamp(), connection->NowMs());
  SliceWriter writer(connection, table, timestamp);
  int rc = SQLITE_OK;
  for (size_t i = 0; rc == SQLITE_OK && i < table->shape->columns.size(); i++) {
    if (HasColumn(before, table->shape->columns[i].c_str())) continue;
    rc = LogColumn(connection, table, i, &writer);
  }
  if (rc == SQLITE_OK) rc = writer.Write();
  log.Observe(timestamp);
  return rc;
}

int LogExistingRows(Connection* connection, Table* table, bool returning) {
  Log& log = connection->log;
  uint64_t timestamp = kBeforeAllWrites;
  if (returning) {
    const int rc = FoldEverything(connection);
    if (rc != SQLITE_OK) return rc;
    timestamp = Tick(log.newest_timestamp(), connection->NowMs());
    log.Observe(timestamp);
  }
  SliceWriter writer(connection, table, timestamp);
  int rc = LogRows(connection, table, &writer);
  if (rc == SQLITE_OK && returning) rc = LogVanishedRows(connection, table, &writer);
  if (rc == SQLITE_OK) rc = writer.Write();
  if (rc != SQLITE_OK) return rc;
  // The log's last row is no longer the newest: keep the newest timestamp elsewhere.
  log.self()->timestamp = log.newest_timestamp();
  log.self()->dirty = true;
  return log.SaveOrigins(connection);
}

}  // namespace mergelite
