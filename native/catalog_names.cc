// Finding tables and columns by the names they have or had.
#include "catalog.h"
#include "connection.h"

namespace mergelite {

int Table::FindKey(const char* column) const {
  for (size_t i = 0; i < shape->keys.size(); i++) {
    if (SameName(shape->keys[i].name.c_str(), column)) return static_cast<int>(i);
  }
  for (const ColumnName& known : names) {
    if (known.id <= 0 && SameName(known.name.c_str(), column)) return static_cast<int>(-known.id);
  }
  return -1;
}

int Table::FindColumn(const char* column) const {
  for (size_t i = 0; i < shape->columns.size(); i++) {
    if (SameName(shape->columns[i].c_str(), column)) return static_cast<int>(i);
  }
  for (const ColumnName& known : names) {
    if (!SameName(known.name.c_str(), column)) continue;
    for (size_t i = 0; i < column_ids.size(); i++) {
      if (column_ids[i] == known.id) return static_cast<int>(i);
    }
  }
  return -1;
}

int Catalog::LoadUserSql(Connection* connection) {
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT sql FROM (SELECT type, name, sql FROM main.sqlite_schema UNION ALL "
                    "SELECT type, name, sql FROM temp.sqlite_schema) WHERE type IN ('trigger', "
                    "'view') AND substr(name, 1, 11) <> '_mergelite_'"));
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    user_sql_ << query.ColumnText(0) << ";";
    rc = SQLITE_OK;
  }
  return connection->Check(rc);
}

bool Catalog::Mentions(const char* column) const {
  for (const char* at = user_sql_.c_str(); *at != 0; at++) {
    size_t i = 0;
    while (column[i] != 0 && Fold(at[i]) == Fold(column[i])) i++;
    if (column[i] == 0) return true;
  }
  return false;
}

int Catalog::LoadAliases(Connection* connection) {
  aliases_.clear();
  Statement query;
  int rc = connection->Check(query.Prepare(connection->api, connection->db,
                                           "SELECT name, table_id FROM main._mergelite_aliases"));
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    aliases_.push_back({Text(query.ColumnText(0)), query.ColumnInteger(1)});
    rc = SQLITE_OK;
  }
  return connection->Check(rc);
}

Table* Catalog::FindReplicated(const char* name) const {
  Table* table = FindTable(name);
  for (size_t i = 0; i < aliases_.size() && (table == nullptr || !table->active); i++) {
    if (SameName(aliases_[i].name.c_str(), name)) table = TableById(aliases_[i].table_id);
  }
  return table != nullptr && table->active ? table : nullptr;
}

}  // namespace mergelite
