#include "table_sql.h"

#include "connection.h"

namespace mergelite {

void AppendTableName(Text* sql, const Table& table) {
  *sql << "main.";
  sql->Name(table.name.c_str());
}

void AppendKeyNames(Text* sql, const Shape& shape) {
  for (size_t i = 0; i < shape.keys.size(); i++) {
    if (i > 0) *sql << ", ";
    sql->Name(shape.keys[i].name.c_str());
  }
}

void AppendKeyCondition(Text* sql, const Shape& shape) {
  for (size_t i = 0; i < shape.keys.size(); i++) {
    if (i > 0) *sql << " AND ";
    sql->Name(shape.keys[i].name.c_str()) << " = ?" << (i + 1);
  }
}

void AppendColumnValue(Text* sql, const Table& table, size_t column, uint64_t parameter) {
  const Text& fallback = table.null_defaults[column];
  if (fallback.empty()) {
    *sql << "?" << parameter;
  } else {
    *sql << "coalesce(?" << parameter << ", (" << fallback << "))";
  }
}

void AppendKeyType(Text* sql, const TableInfo& info, size_t key) {
  *sql << info.key_types[key];
  const char* collation = info.collations[key].c_str();
  // SQLite compares texts faster where BINARY is not spelled out.
  if (SameName(collation, "BINARY")) return;
  (*sql << " COLLATE ").Name(collation);
}

void AppendClockName(Text* sql, const Table& table) {
  Text name("_mergelite_clock_");
  name << table.name;
  *sql << "main.";
  sql->Name(name.c_str());
}

int RowExists(Connection* connection, Table* table, const Value* key, bool* exists) {
  *exists = false;
  if (!table->exists) {
    Text sql("SELECT 1 FROM ");
    AppendTableName(&sql, *table);
    sql << " WHERE ";
    AppendKeyCondition(&sql, *table->shape);
    const int rc = connection->Prepare(&table->exists, sql.c_str());
    if (rc != SQLITE_OK) return rc;
  }
  BindKey(&table->exists, key, table->shape->keys.size());
  const int rc = table->exists.Step();
  *exists = rc == SQLITE_ROW;
  return connection->Check(*exists ? table->exists.Reset() : rc);
}

int PrepareReadRow(Connection* connection, Table* table) {
  if (table->read_row) return SQLITE_OK;
  Text sql("SELECT ");
  for (const Text& column : table->shape->columns) {
    sql.Name(column.c_str()) << ", ";
  }
  AppendKeyNames(&sql, *table->shape);
  sql << " FROM ";
  AppendTableName(&sql, *table);
  sql << " WHERE ";
  AppendKeyCondition(&sql, *table->shape);
  return connection->Prepare(&table->read_row, sql.c_str());
}

int PrepareRemove(Connection* connection, Table* table) {
  if (table->remove) return SQLITE_OK;
  Text sql("DELETE FROM ");
  AppendTableName(&sql, *table);
  sql << " WHERE ";
  AppendKeyCondition(&sql, *table->shape);
  return connection->Prepare(&table->remove, sql.c_str());
}

int PrepareClocks(Connection* connection, Table* table) {
  if (table->clock_read && table->clock_write) return SQLITE_OK;
  const Shape& shape = *table->shape;
  const size_t keys = shape.keys.size();
  // From the left, so that a key without a clock has a row as well.
  Text read("SELECT clock._mergelite_clock FROM ");
  AppendFeedName(&read, keys);
  read << "(?1) AS feed LEFT JOIN ";
  AppendClockName(&read, *table);
  read << " AS clock ON ";
  for (size_t i = 0; i < keys; i++) {
    (read << (i > 0 ? " AND clock." : "clock.")).Name(shape.keys[i].name.c_str());
    read << " = feed.v" << i;
  }
  int rc = connection->Prepare(&table->clock_read, read.c_str());
  if (rc != SQLITE_OK) return rc;
  rc = connection->Check(BindFeed(&table->clock_read, 1, &table->clock_key));
  // Without its feed it is of no use to the next caller.
  if (rc != SQLITE_OK) return table->clock_read.Finalize(), rc;
  Text write("INSERT INTO ");
  AppendClockName(&write, *table);
  write << " (";
  AppendKeyNames(&write, shape);
  write << ", _mergelite_clock) SELECT v0";
  for (size_t i = 1; i <= keys; i++) write << ", v" << i;
  write << " FROM ";
  AppendFeedName(&write, keys + 1);
  write << "(?1) WHERE true ON CONFLICT DO UPDATE SET _mergelite_clock = "
           "mergelite_join_clocks(_mergelite_clock, excluded._mergelite_clock)";
  return connection->Prepare(&table->clock_write, write.c_str());
}

}  // namespace mergelite
