#include "orphans.h"

#include "connection.h"
#include "table_sql.h"

namespace mergelite {
namespace {

// One foreign key: the columns of the child, the table and columns they name.
struct ForeignKey {
  int64_t id = 0;
  Text parent;
  bool parent_exists = false;
  std::vector<Text> from, to;
};

int ReadForeignKeys(Connection* connection, const Table& table, std::vector<ForeignKey>* keys) {
  Statement query;
  // Without columns of its own a reference means the parent's primary key.
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT id, \"table\", \"from\", coalesce(\"to\", (SELECT name FROM "
      "pragma_table_xinfo(f.\"table\", 'main') WHERE pk = f.seq + 1)), EXISTS (SELECT 1 FROM "
      "main.sqlite_schema AS s WHERE s.type = 'table' AND s.name = f.\"table\" COLLATE NOCASE) "
      "FROM pragma_foreign_key_list(?1, 'main') AS f ORDER BY id, seq"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, table.name.span());
  while ((rc = query.Step()) == SQLITE_ROW) {
    if (keys->empty() || keys->back().id != query.ColumnInteger(0)) {
      ForeignKey key;
      key.id = query.ColumnInteger(0);
      key.parent << query.ColumnText(1);
      key.parent_exists = query.ColumnInteger(4) != 0;
      keys->push_back(static_cast<ForeignKey&&>(key));
    }
    keys->back().from.push_back(Text(query.ColumnText(2)));
    if (query.ColumnIsNull(3)) keys->back().parent_exists = false;
    keys->back().to.push_back(Text(query.ColumnIsNull(3) ? "" : query.ColumnText(3)));
  }
  return connection->Check(rc);
}

void AppendViolated(Text* sql, const ForeignKey& key) {
  for (size_t i = 0; i < key.from.size(); i++) {
    (*sql << (i == 0 ? "" : " AND ") << "child.").Name(key.from[i].c_str()) << " IS NOT NULL";
  }
  if (!key.parent_exists) return;
  (*sql << " AND NOT EXISTS (SELECT 1 FROM main.").Name(key.parent.c_str()) << " AS parent WHERE ";
  for (size_t i = 0; i < key.from.size(); i++) {
    (*sql << (i == 0 ? "parent." : " AND parent.")).Name(key.to[i].c_str()) << " = child.";
    sql->Name(key.from[i].c_str());
  }
  *sql << ")";
}

// key..., which reference is violated (0 for none), the columns that refer
int PrepareScan(Connection* connection, const Table& table, const std::vector<ForeignKey>& keys,
                Span after_key, Statement* rows) {
  const Shape& shape = *table.shape;
  Text sql("SELECT ");
  AppendKeyNames(&sql, shape);
  sql << ", CASE";
  for (size_t i = 0; i < keys.size(); i++) {
    sql << " WHEN ";
    AppendViolated(&sql, keys[i]);
    sql << " THEN " << (i + 1);
  }
  sql << " ELSE 0 END";
  for (const ForeignKey& key : keys) {
    for (const Text& column : key.from) (sql << ", child.").Name(column.c_str());
  }
  sql << " FROM ";
  AppendTableName(&sql, table);
  sql << " AS child";
  if (after_key.size > 0) {
    sql << " WHERE (";
    AppendKeyNames(&sql, shape);
    sql << ") > (";
    for (size_t i = 0; i < shape.keys.size(); i++) sql << (i > 0 ? ", ?" : "?") << (i + 1);
    sql << ")";
  }
  sql << " ORDER BY ";
  AppendKeyNames(&sql, shape);
  int rc = connection->Check(rows->Prepare(connection->api, connection->db, sql.c_str()));
  Reader in(after_key);
  for (size_t i = 0; rc == SQLITE_OK && after_key.size > 0 && i < shape.keys.size(); i++) {
    Value value;
    if (!ReadValue(&in, &value)) return connection->Fail("KEY_MALFORMED", "a key is damaged");
    rows->Any(static_cast<int>(i) + 1, value);
  }
  return rc;
}

// What is told of the row the scan is at: its key, and the columns that point nowhere.
void Describe(const Table& table, const std::vector<ForeignKey>& keys, size_t violated,
              Statement* rows, Conflict* orphan) {
  const Shape& shape = *table.shape;
  orphan->table << table.name;
  for (size_t i = 0; i < shape.keys.size(); i++) {
    Value value;
    rows->ColumnAny(static_cast<int>(i), &value);
    orphan->key.push_back({&shape.keys[i].name, value});
  }
  size_t column = shape.keys.size() + 1;
  for (size_t i = 0; i < violated; i++) column += keys[i].from.size();
  const ForeignKey& key = keys[violated];
  for (size_t i = 0; i < key.from.size(); i++) {
    Value value;
    rows->ColumnAny(static_cast<int>(column + i), &value);
    orphan->values.push_back({&key.from[i], value});
  }
  orphan->detail << key.parent << " has no such row";
}

}  // namespace

int FindOrphans(Connection* connection, const char* name, Span after_key, double budget_ms,
                OrphanPage* page,
                void (*visit)(void* context, const Conflict& conflict, Span encoded_key),
                void* context) {
  const Deadline deadline(connection, budget_ms);
  int rc = connection->catalog.Refresh(connection);
  if (rc != SQLITE_OK) return rc;
  Table* table = connection->catalog.FindTable(name);
  page->done = true;
  if (table == nullptr || !table->active) return SQLITE_OK;
  std::vector<ForeignKey> keys;
  rc = ReadForeignKeys(connection, *table, &keys);
  if (rc != SQLITE_OK || keys.empty()) return rc;
  Statement rows;
  rc = PrepareScan(connection, *table, keys, after_key, &rows);
  if (rc != SQLITE_OK) return rc;
  const size_t key_columns = table->shape->keys.size();
  while ((rc = rows.Step()) == SQLITE_ROW) {
    page->rows++;
    page->last_key.Clear();
    for (size_t i = 0; i < key_columns; i++) {
      Value value;
      rows.ColumnAny(static_cast<int>(i), &value);
      AppendValue(&page->last_key, value);
    }
    const int64_t violated = rows.ColumnInteger(static_cast<int>(key_columns));
    if (violated > 0) {
      page->orphans++;
      Conflict orphan;
      Describe(*table, keys, static_cast<size_t>(violated) - 1, &rows, &orphan);
      visit(context, orphan, page->last_key.span());
    }
    if (page->rows % 64 == 0 && deadline.Passed()) {
      page->done = false;
      return connection->Check(rows.Reset());
    }
  }
  return connection->Check(rc);
}

}  // namespace mergelite
