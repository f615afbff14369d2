// What SQLite says of a table, by its own pragmas.
#include "catalog.h"
#include "connection.h"
#include "index_sql.h"

namespace mergelite {
namespace {

bool StartsWith(const char* text, const char* word) {
  for (; *word != 0; text++, word++) {
    if (Fold(*text) != Fold(*word)) return false;
  }
  return true;
}

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

// A shadow table, which belongs to a virtual one. Listing tables is slow where a virtual table is
// about to be made, so only tables are asked for whose names look like it.
int ReadShadow(Connection* connection, TableInfo* info) {
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT type = 'shadow' FROM pragma_table_list(?1) WHERE schema = 'main'"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, info->name.span());
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  if (query.ColumnInteger(0) != 0) info->kind = TableInfo::Kind::kVirtual;
  return connection->Check(query.Reset());
}

int ReadKind(Connection* connection, const char* name, TableInfo* info, bool* strict) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT type, name, sql, EXISTS (SELECT 1 FROM main.sqlite_schema AS v WHERE v.type = "
      "'table' AND v.rootpage = 0 AND instr(lower(s.name), lower(v.name) || '_') = 1) FROM "
      "main.sqlite_schema AS s WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view')"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, name);
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  info->name = Text(query.ColumnText(1));
  info->kind = TableInfo::Kind::kTable;
  // SQLite writes these words itself, and without comments.
  if (query.ColumnText(0)[0] == 'v') info->kind = TableInfo::Kind::kView;
  if (StartsWith(query.ColumnText(2), "CREATE VIRTUAL")) info->kind = TableInfo::Kind::kVirtual;
  const TableOptions options = ParseTableOptions(query.ColumnText(2));
  *strict = options.strict;
  info->has_rowid = !options.without_rowid;
  const bool may_be_shadow = query.ColumnInteger(3) != 0;
  rc = connection->Check(query.Reset());
  if (rc != SQLITE_OK || info->kind != TableInfo::Kind::kTable || !may_be_shadow) return rc;
  return ReadShadow(connection, info);
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
      "SELECT rowid, type, name, sql FROM main.sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE "
      "UNION ALL SELECT -1, type, name, sql FROM temp.sqlite_schema WHERE tbl_name = ?1 COLLATE "
      "NOCASE"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, info->name.span());
  int64_t youngest = -1, own_oldest = INT64_MAX;
  while ((rc = query.Step()) == SQLITE_ROW) {
    const int64_t age = query.ColumnInteger(0);
    info->signature += SchemaRowHash(&query);
    if (query.ColumnText(1)[0] != 't' || query.ColumnText(1)[1] != 'r') continue;
    const char* trigger = query.ColumnText(2);
    if (strlen(trigger) >= 11 && memcmp(trigger, "_mergelite_", 11) == 0) {
      info->own_triggers++;
      if (age < own_oldest) own_oldest = age;
    } else {
      info->has_user_triggers = true;
      if (age > youngest) youngest = age;
    }
  }
  info->outranked = info->own_triggers > 0 && youngest > own_oldest;
  return connection->Check(rc);
}

}  // namespace

uint64_t SchemaRowHash(Statement* row) {
  Bytes bytes;
  bytes.Varint(static_cast<uint64_t>(row->ColumnInteger(0)));
  bytes.Append(row->ColumnBytes(2));
  bytes.Append(row->ColumnBytes(3));
  // Never 0: a sum of 0 means that nothing is known.
  return Hash64(bytes.span()) | 1;
}

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
