// What SQLite says of a table, by its own pragmas.
#include "catalog.h"
#include "connection.h"
#include "index_sql.h"
#include "schema_rows.h"

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

int ReadKind(Connection* connection, const char* name, const SchemaRows& schema, TableInfo* info,
             bool* strict) {
  const SchemaRows::Row* found = nullptr;
  for (const SchemaRows::Row& row : schema.Of(name)) {
    if (row.age >= 0 && (row.kind == 't' || row.kind == 'v')) found = &row;
  }
  if (found == nullptr) return SQLITE_OK;
  info->name = Text(schema.TextAt(found->name));
  info->kind = found->virtual_table ? TableInfo::Kind::kVirtual
               : found->kind == 'v' ? TableInfo::Kind::kView
                                    : TableInfo::Kind::kTable;
  const TableOptions options = ParseTableOptions(schema.TextAt(found->sql));
  *strict = options.strict;
  info->has_rowid = !options.without_rowid;
  if (info->kind != TableInfo::Kind::kTable || !schema.MayBeShadow(name)) return SQLITE_OK;
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

// The statement that made an index; one that stands for a UNIQUE constraint has none.
const char* IndexStatement(const SchemaRows& schema, const TableInfo& info, const char* index) {
  for (const SchemaRows::Row& row : schema.Of(info.name.c_str())) {
    if (row.kind == 'i' && row.age >= 0 && SameName(schema.TextAt(row.name), index)) {
      return schema.TextAt(row.sql);
    }
  }
  return "";
}

int ReadUniqueIndex(Connection* connection, const char* name, const SchemaRows& schema,
                    TableInfo* info) {
  IndexSql sql;
  const char* statement = IndexStatement(schema, *info, name);
  if (*statement != 0 && !ParseIndexSql(statement, &sql)) {
    return connection->Fail("FILE_DAMAGED", "an index has no statement that can be read",
                            "Run `PRAGMA integrity_check`.");
  }
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT name, coll FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY "
                    "seqno"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, name);
  TableInfo::UniqueIndex index;
  while ((rc = query.Step()) == SQLITE_ROW) {
    const size_t at = index.terms.size();
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

int ReadIndexes(Connection* connection, const SchemaRows& schema, TableInfo* info) {
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
                              : ReadUniqueIndex(connection, query.ColumnText(0), schema, info);
    if (inner != SQLITE_OK) return inner;
  }
  return connection->Check(rc);
}

bool IsOwn(const char* name) {
  constexpr char kPrefix[] = "_mergelite_";
  constexpr size_t kSize = sizeof kPrefix - 1;
  return strlen(name) >= kSize && memcmp(name, kPrefix, kSize) == 0;
}

// SQLite fires the youngest trigger first. Ours should be: one of the user's that fails under OR
// FAIL leaves the row, and keeps ours from being asked.
void ReadTriggers(const SchemaRows& schema, TableInfo* info) {
  int64_t youngest = -1, own_oldest = INT64_MAX;
  for (const SchemaRows::Row& row : schema.Of(info->name.c_str())) {
    info->signature += row.hash;
    if (row.kind != 'r') continue;
    if (IsOwn(schema.TextAt(row.name))) {
      info->own_triggers++;
      if (row.age < own_oldest) own_oldest = row.age;
    } else {
      info->has_user_triggers = true;
      if (row.age > youngest) youngest = row.age;
    }
  }
  info->outranked = info->own_triggers > 0 && youngest > own_oldest;
}

}  // namespace

int DescribeTable(Connection* connection, const char* name, TableInfo* info) {
  SchemaRows schema;
  const int rc = schema.Read(connection, name);
  return rc == SQLITE_OK ? DescribeTable(connection, name, schema, info) : rc;
}

int DescribeTable(Connection* connection, const char* name, const SchemaRows& schema,
                  TableInfo* info) {
  bool strict = false;
  int rc = ReadKind(connection, name, schema, info, &strict);
  if (rc != SQLITE_OK || info->kind != TableInfo::Kind::kTable) return rc;
  info->shape.table = info->name.Copy();
  rc = ReadColumns(connection, strict, info);
  if (rc == SQLITE_OK) rc = ReadIndexes(connection, schema, info);
  if (rc != SQLITE_OK) return rc;
  ReadTriggers(schema, info);
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
