// SQL that reads and writes one replicated table, built from its shape.
#pragma once
#include "catalog.h"

namespace mergelite {

// "main"."note"
void AppendTableName(Text* sql, const Table& table);
// "k1" = ?1 AND "k2" = ?2
void AppendKeyCondition(Text* sql, const Shape& shape);
// "k1", "k2"
void AppendKeyNames(Text* sql, const Shape& shape);
// ?3, or what a NOT NULL column takes in place of NULL where it has a default.
void AppendColumnValue(Text* sql, const Table& table, size_t column, uint64_t parameter);
// TEXT COLLATE "NOCASE": of a column that holds this part of the key
void AppendKeyType(Text* sql, const TableInfo& info, size_t key);
void AppendClockName(Text* sql, const Table& table);

// Whether the table shows the row of this key.
int RowExists(Connection* connection, Table* table, const Value* key, bool* exists);
int PrepareReadRow(Connection* connection, Table* table);
int PrepareRemove(Connection* connection, Table* table);
int PrepareClocks(Connection* connection, Table* table);

inline void BindKey(Statement* statement, const Value* key, size_t count) {
  for (size_t i = 0; i < count; i++) statement->Any(static_cast<int>(i) + 1, key[i]);
}

}  // namespace mergelite
