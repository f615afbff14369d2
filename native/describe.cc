// What SQLite says of a table, by its own pragmas.
#include "catalog.h"
#include "connection.h"

namespace mergelite {
namespace {

bool Contains(const char* text, const char* word) {
  for (; *text != 0; text++) {
    size_t i = 0;
    while (word[i] != 0 && Fold(text[i]) == Fold(word[i])) i++;
    if (word[i] == 0) return true;
  }
  return false;
}

// A type name that has the affinity of a declared one (SQLite, "Datatypes", section 3.1). Clock
// tables use it, so that a key is the same key there.
const char* AffinityName(const char* type, bool strict) {
  if (Contains(type, "INT")) return "INTEGER";
  if (Contains(type, "CHAR") || Contains(type, "CLOB") || Contains(type, "TEXT")) return "TEXT";
  if (*type == 0 || Contains(type, "BLOB") || (strict && SameName(type, "ANY"))) return "BLOB";
  if (Contains(type, "REAL") || Contains(type, "FLOA") || Contains(type, "DOUB")) return "REAL";
  return "NUMERIC";
}

int ReadKind(Connection* connection, const char* name, TableInfo* info, bool* strict) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT type, strict, name, (SELECT sql FROM main.sqlite_schema AS s WHERE s.name = "
      "list.name AND s.type = 'table') FROM pragma_table_list AS list WHERE schema = 'main' AND "
      "name = ?1 COLLATE NOCASE"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, name);
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  const char* type = query.ColumnText(0);
  if (type[0] == 't') info->kind = TableInfo::Kind::kTable;
  if (type[0] == 'v') {
    info->kind = type[2] == 'e' ? TableInfo::Kind::kView : TableInfo::Kind::kVirtual;
  }
  if (type[0] == 's') info->kind = TableInfo::Kind::kVirtual;  // a shadow table of one
  *strict = query.ColumnInteger(1) != 0;
  info->name = Text(query.ColumnText(2));
  if (!query.ColumnIsNull(3)) info->autoincrement = Contains(query.ColumnText(3), "AUTOINCREMENT");
  return SQLITE_OK;
}

int ReadColumns(Connection* connection, bool strict, TableInfo* info) {
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1, 'main')"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, info->name.span());
  while ((rc = query.Step()) == SQLITE_ROW) {
    const auto pk = static_cast<size_t>(query.ColumnInteger(2));
    if (query.ColumnInteger(3) != 0 && pk == 0) continue;  // generated
    if (pk == 0) {
      info->shape.columns.push_back(Text(query.ColumnText(0)));
      continue;
    }
    if (info->shape.keys.size() < pk) {
      info->shape.keys.resize(pk);
      info->key_types.resize(pk);
      info->collations.resize(pk);
    }
    info->shape.keys[pk - 1].name = Text(query.ColumnText(0));
    info->key_types[pk - 1] = Text(AffinityName(query.ColumnText(1), strict));
    info->collations[pk - 1] = Text("BINARY");
    info->integer_key = pk == 1 && SameName(query.ColumnText(1), "INTEGER");
  }
  if (info->shape.keys.size() != 1) info->integer_key = false;
  return connection->Check(rc);
}

int ReadIndexColumns(Connection* connection, const char* index, TableInfo* info, bool primary,
                     bool partial) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT name, coll, seqno FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY seqno"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, index);
  TableInfo::UniqueIndex unique;
  unique.partial = partial;
  while ((rc = query.Step()) == SQLITE_ROW) {
    if (query.ColumnIsNull(0)) {
      unique.has_expression = true;
      continue;
    }
    const char* name = query.ColumnText(0);
    const char* collation = query.ColumnText(1);
    if (!primary) {
      unique.columns.push_back(Text(name));
      unique.collations.push_back(Text(collation));
      continue;
    }
    for (size_t i = 0; i < info->shape.keys.size(); i++) {
      if (SameName(info->shape.keys[i].name.c_str(), name)) info->collations[i] = Text(collation);
    }
  }
  if (!primary) info->unique_indexes.push_back(static_cast<TableInfo::UniqueIndex&&>(unique));
  return connection->Check(rc);
}

int ReadIndexes(Connection* connection, TableInfo* info) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT name, origin, partial FROM pragma_index_list(?1, 'main') WHERE \"unique\""));
  if (rc != SQLITE_OK) return rc;
  query.String(1, info->name.span());
  while ((rc = query.Step()) == SQLITE_ROW) {
    const bool primary = query.ColumnText(1)[0] == 'p';
    if (primary) info->integer_key = false;  // only the rowid's own key has no index
    const int inner = ReadIndexColumns(connection, query.ColumnText(0), info, primary,
                                       query.ColumnInteger(2) != 0);
    if (inner != SQLITE_OK) return inner;
  }
  return connection->Check(rc);
}

int ReadTriggers(Connection* connection, TableInfo* info) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT count(*) FILTER (WHERE NOT own), count(*) FILTER (WHERE own) FROM (SELECT substr("
      "name, 1, 11) = '_mergelite_' AS own FROM (SELECT * FROM main.sqlite_schema UNION ALL SELECT "
      "* FROM temp.sqlite_schema) WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE)"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, info->name.span());
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  info->has_user_triggers = query.ColumnInteger(0) != 0;
  info->own_triggers = static_cast<size_t>(query.ColumnInteger(1));
  return connection->Check(query.Reset());
}

}  // namespace

int DescribeTable(Connection* connection, const char* name, TableInfo* info) {
  bool strict = false;
  int rc = ReadKind(connection, name, info, &strict);
  if (rc != SQLITE_OK || info->kind != TableInfo::Kind::kTable) return rc;
  info->shape.table = info->name.Copy();
  rc = ReadColumns(connection, strict, info);
  if (rc == SQLITE_OK) rc = ReadIndexes(connection, info);
  if (rc == SQLITE_OK) rc = ReadTriggers(connection, info);
  if (rc != SQLITE_OK) return rc;
  for (size_t i = 0; i < info->shape.keys.size(); i++) {
    const char* collation = info->collations[i].c_str();
    if (SameName(collation, "NOCASE")) info->shape.keys[i].collation = Collation::kNoCase;
    if (SameName(collation, "RTRIM")) info->shape.keys[i].collation = Collation::kRtrim;
  }
  Bytes descriptor;
  EncodeShape(info->shape, &descriptor);
  info->shape.hash = Hash64(descriptor.span());
  return SQLITE_OK;
}

}  // namespace mergelite
