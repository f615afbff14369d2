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

void AppendClockName(Text* sql, const Table& table) {
  Text name("_mergelite_clock_");
  name << table.name;
  *sql << "main.";
  sql->Name(name.c_str());
}

int PrepareExists(Connection* connection, Table* table) {
  if (table->exists) return SQLITE_OK;
  Text sql("SELECT 1 FROM ");
  AppendTableName(&sql, *table);
  sql << " WHERE ";
  AppendKeyCondition(&sql, *table->shape);
  return connection->Prepare(&table->exists, sql.c_str());
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
  Text read("SELECT _mergelite_clock FROM ");
  AppendClockName(&read, *table);
  read << " WHERE ";
  AppendKeyCondition(&read, *table->shape);
  const int rc = connection->Prepare(&table->clock_read, read.c_str());
  if (rc != SQLITE_OK) return rc;
  Text write("INSERT OR REPLACE INTO ");
  AppendClockName(&write, *table);
  write << " (";
  AppendKeyNames(&write, *table->shape);
  write << ", _mergelite_clock) VALUES (";
  for (size_t i = 0; i < table->shape->keys.size(); i++) write << "?" << (i + 1) << ", ";
  write << "?" << (table->shape->keys.size() + 1) << ")";
  return connection->Prepare(&table->clock_write, write.c_str());
}

}  // namespace mergelite
