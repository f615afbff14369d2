// What SQLite says of a table, by its own pragmas.
#include "catalog.h"
#include "connection.h"
#include "index_sql.h"

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
      "SELECT type, strict, name, wr, (SELECT sql FROM main.sqlite_schema AS s WHERE s.name = "
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
  info->has_rowid = query.ColumnInteger(3) == 0;
  if (!query.ColumnIsNull(4)) info->autoincrement = Contains(query.ColumnText(4), "AUTOINCREMENT");
  return connection->Check(query.Reset());
}

int ReadColumns(Connection* connection, bool strict, TableInfo* info) {
  Statement query;
  int rc =
      connection->Check(query.Prepare(connection->api, connection->db,
                                      "SELECT name, type, pk, hidden, \"notnull\", dflt_value FROM "
                                      "pragma_table_xinfo(?1, 'main')"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, info->name.span());
  while ((rc = query.Step()) == SQLITE_ROW) {
    const auto pk = static_cast<size_t>(query.ColumnInteger(2));
    if (query.ColumnInteger(3) != 0 && pk == 0) {
      info->generated.push_back(Text(query.ColumnText(0)));
      continue;
    }
    if (pk == 0) {
      info->shape.columns.push_back(Text(query.ColumnText(0)));
      info->not_null.push_back(query.ColumnInteger(4) != 0);
      info->defaults.push_back(Text(query.ColumnIsNull(5) ? "" : query.ColumnText(5)));
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

// Which collation the index of the primary key gives each key column.
int ReadKeyCollations(Connection* connection, const char* index, TableInfo* info) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT name, coll FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY seqno"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, index);
  while ((rc = query.Step()) == SQLITE_ROW) {
    for (size_t i = 0; i < info->shape.keys.size(); i++) {
      if (!SameName(info->shape.keys[i].name.c_str(), query.ColumnText(0))) continue;
      info->collations[i] = Text(query.ColumnText(1));
    }
  }
  return connection->Check(rc);
}

bool IsGenerated(const TableInfo& info, const char* name) {
  for (const Text& column : info.generated) {
    if (SameName(column.c_str(), name)) return true;
  }
  return false;
}

int ReadUniqueIndex(Connection* connection, const char* name, TableInfo* info) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT x.name, x.coll, (SELECT sql FROM main.sqlite_schema AS s WHERE s.type = 'index' AND "
      "s.name = ?1) FROM pragma_index_xinfo(?1, 'main') AS x WHERE x.key ORDER BY x.seqno"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, name);
  TableInfo::UniqueIndex index;
  IndexSql sql;
  while ((rc = query.Step()) == SQLITE_ROW) {
    // One that stands for a UNIQUE constraint has no statement, and nothing but columns.
    const size_t at = index.terms.size();
    if (at == 0 && !query.ColumnIsNull(2) && !ParseIndexSql(query.ColumnText(2), &sql)) {
      return connection->Fail("FILE_DAMAGED", "an index has no statement that can be read",
                              "Run `PRAGMA integrity_check`.");
    }
    TableInfo::UniqueIndex::Term term;
    term.collation = Text(query.ColumnText(1));
    if (!query.ColumnIsNull(0)) {
      term.column = Text(query.ColumnText(0));
      if (IsGenerated(*info, term.column.c_str())) index.of_any_column = true;
    } else if (at < sql.terms.size()) {
      term.expression = sql.terms[at].Copy();
      index.of_any_column = true;
    }
    index.terms.push_back(static_cast<TableInfo::UniqueIndex::Term&&>(term));
  }
  index.condition = static_cast<Text&&>(sql.condition);
  if (!index.condition.empty()) index.of_any_column = true;
  info->unique_indexes.push_back(static_cast<TableInfo::UniqueIndex&&>(index));
  return connection->Check(rc);
}

int ReadIndexes(Connection* connection, TableInfo* info) {
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT name, origin FROM pragma_index_list(?1, 'main') WHERE \"unique\""));
  if (rc != SQLITE_OK) return rc;
  query.String(1, info->name.span());
  while ((rc = query.Step()) == SQLITE_ROW) {
    const bool primary = query.ColumnText(1)[0] == 'p';
    if (primary) info->integer_key = false;  // only the rowid's own key has no index
    const int inner = primary ? ReadKeyCollations(connection, query.ColumnText(0), info)
                              : ReadUniqueIndex(connection, query.ColumnText(0), info);
    if (inner != SQLITE_OK) return inner;
  }
  return connection->Check(rc);
}

// SQLite fires the youngest trigger first. Ours should be: one of the user's that fails under OR
// FAIL leaves the row, and keeps ours from being asked.
int ReadTriggers(Connection* connection, TableInfo* info) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT count(*) FILTER (WHERE NOT own), count(*) FILTER (WHERE own), coalesce(max(age) "
      "FILTER (WHERE NOT own) > min(age) FILTER (WHERE own), 0) FROM (SELECT age, substr(name, 1, "
      "11) = '_mergelite_' AS own FROM (SELECT rowid AS age, * FROM main.sqlite_schema UNION ALL "
      "SELECT -1, * FROM temp.sqlite_schema) WHERE type = 'trigger' AND tbl_name = ?1 COLLATE "
      "NOCASE)"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, info->name.span());
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  info->has_user_triggers = query.ColumnInteger(0) != 0;
  info->own_triggers = static_cast<size_t>(query.ColumnInteger(1));
  info->outranked = query.ColumnInteger(2) != 0;
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
