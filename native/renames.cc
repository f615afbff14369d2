#include "renames.h"

#include <algorithm>

#include "connection.h"
#include "ranges.h"

namespace mergelite {
namespace {

// Reads an identifier, quoted or bare, and moves `at` behind it.
Text ReadIdentifier(const char** at) {
  Text name;
  const char* c = *at;
  const char close = *c == '[' ? ']' : *c;
  const bool quoted = *c == '"' || *c == '`' || *c == '[' || *c == '\'';
  if (quoted) c++;
  for (; *c != 0; c++) {
    if (quoted && *c == close) {
      if (c[1] != close || close == ']') break;
      c++;
    } else if (!quoted && (*c == ',' || *c == ' ' || *c == ')' || *c == ';')) {
      break;
    }
    name.Add({reinterpret_cast<const uint8_t*>(c), 1});
  }
  *at = quoted && *c != 0 ? c + 1 : c;
  return name;
}

bool Begins(const char* at, const char* words) {
  while (*words != 0 && *at == *words) at++, words++;
  return *words == 0;
}

// The columns that a trigger of ours names: those of `UPDATE OF`, else all of `NEW`, in order.
std::vector<Text> ColumnsIn(const char* sql) {
  std::vector<Text> names;
  for (const char* at = sql; *at != 0;) {
    if (Begins(at, "UPDATE OF ")) {
      at += strlen("UPDATE OF ");
      for (;;) {
        names.push_back(ReadIdentifier(&at));
        if (!Begins(at, ", ")) return names;
        at += 2;
      }
    }
    if (Begins(at, "NEW.")) {
      at += strlen("NEW.");
      names.push_back(ReadIdentifier(&at));
    } else if (*at == '"' || *at == '\'' || *at == '`' || *at == '[') {
      (void)ReadIdentifier(&at);
    } else {
      at++;
    }
  }
  return names;
}

// SQLite looks at all triggers and views before and after it renames something, and refuses when
// one of them does not fit: what is renamed here concerns none of them.
class WithoutLooking {
 public:
  explicit WithoutLooking(Connection* connection) : connection_(connection) {
    connection->api->db_config(connection->db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, -1, &before_);
    connection->api->db_config(connection->db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1, nullptr);
  }
  WithoutLooking(const WithoutLooking&) = delete;
  WithoutLooking& operator=(const WithoutLooking&) = delete;
  ~WithoutLooking() {
    connection_->api->db_config(connection_->db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, before_,
                                nullptr);
  }

 private:
  Connection* connection_;
  int before_ = 0;
};

struct SavedName {
  Text name;
  int64_t id;
};

int LoadNames(Connection* connection, int64_t table_id, std::vector<SavedName>* names) {
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT name, id FROM main._mergelite_columns WHERE table_id = ?1"));
  if (rc != SQLITE_OK) return rc;
  query.Integer(1, table_id);
  while ((rc = query.Step()) == SQLITE_ROW) {
    names->push_back({Text(query.ColumnText(0)), query.ColumnInteger(1)});
  }
  return connection->Check(rc);
}

const SavedName* FindName(const std::vector<SavedName>& names, const Text& name) {
  for (const SavedName& known : names) {
    if (SameName(known.name.c_str(), name.c_str())) return &known;
  }
  return nullptr;
}

// Where the column of that name stands, or -1.
int IndexOf(const std::vector<Text>& columns, const Text& name) {
  for (size_t i = 0; i < columns.size(); i++) {
    if (SameName(columns[i].c_str(), name.c_str())) return static_cast<int>(i);
  }
  return -1;
}

// The ids of all columns. A column that was there keeps its id under any name; one that comes back
// under a name finds what it had, unless another column has been renamed from there.
std::vector<int64_t> ChooseIds(const std::vector<SavedName>& saved, const Shape& now,
                               const Shape* before, const Shape* known) {
  std::vector<int64_t> ids(now.columns.size(), 0);
  int64_t last = 0;
  for (const SavedName& name : saved) last = std::max(last, name.id);
  auto taken = [&](int64_t id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); };
  for (size_t i = 0; known != nullptr && i < ids.size(); i++) {
    const int at = IndexOf(known->columns, now.columns[i]);
    if (at < 0) continue;
    const SavedName* old = FindName(saved, before->columns[static_cast<size_t>(at)]);
    if (old != nullptr && !taken(old->id)) ids[i] = old->id;
  }
  for (size_t i = 0; i < ids.size(); i++) {
    if (ids[i] != 0) continue;
    const SavedName* old = FindName(saved, now.columns[i]);
    ids[i] = old != nullptr && old->id > 0 && !taken(old->id) ? old->id : ++last;
  }
  return ids;
}

}  // namespace

int ReadTracked(Connection* connection, const Table& table, Tracked* tracked) {
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT tbl_name, sql FROM main.sqlite_schema WHERE type = 'trigger' AND name "
                    "COLLATE NOCASE IN ('_mergelite_insert_' || ?1, '_mergelite_step_' || ?2)"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, table.name.span());
  query.Integer(2, table.id);
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  std::vector<Text> names = ColumnsIn(query.ColumnText(1));
  if (names.size() == table.shape->keys.size() + table.shape->columns.size()) {
    tracked->table = Text(query.ColumnText(0));
    tracked->names = static_cast<std::vector<Text>&&>(names);
  }
  return connection->Check(query.Reset());
}

Shape UnderNewNames(const Shape& shape, const Tracked& tracked) {
  Shape renamed;
  const bool known = !tracked.table.empty();
  renamed.table = known ? tracked.table.Copy() : shape.table.Copy();
  for (size_t i = 0; i < shape.keys.size(); i++) {
    const KeyColumn& key = shape.keys[i];
    renamed.keys.push_back({known ? tracked.names[i].Copy() : key.name.Copy(), key.collation});
  }
  for (size_t i = 0; i < shape.columns.size(); i++) {
    const Text& name = known ? tracked.names[shape.keys.size() + i] : shape.columns[i];
    renamed.columns.push_back(name.Copy());
  }
  return renamed;
}

int MoveTable(Connection* connection, const Table& table, const Text& name) {
  const CompanionsAside aside(connection);
  const WithoutLooking without(connection);
  Text companion = table.name.Copy(), clock("_mergelite_clock_"), moved("_mergelite_clock_");
  companion << "_patches";
  clock << table.name;
  moved << name;
  Text id, ranges, sql("DROP TABLE IF EXISTS main.");
  id << static_cast<uint64_t>(table.id);
  AppendRangesName(&ranges, table.name);
  sql.Name(companion.c_str()) << "; DROP TABLE IF EXISTS " << ranges << "; ALTER TABLE main.";
  sql.Name(clock.c_str()) << " RENAME TO ";
  sql.Name(moved.c_str()) << "; UPDATE main._mergelite_tables SET name = ";
  sql.Literal(name.c_str()) << " WHERE id = " << id;
  sql << "; INSERT OR REPLACE INTO main._mergelite_aliases (name, table_id) VALUES (";
  sql.Literal(table.name.c_str()) << ", " << id;
  sql << "); DELETE FROM main._mergelite_aliases WHERE name = ";
  sql.Literal(name.c_str()) << "; UPDATE main._mergelite_parked SET table_name = ";
  sql.Literal(name.c_str()) << " WHERE table_name = ";
  sql.Literal(table.name.c_str());
  return connection->Execute(sql.c_str());
}

int RenameKeys(Connection* connection, const Shape& before, const Shape& known) {
  const WithoutLooking without(connection);
  Text clocks("_mergelite_clock_");
  clocks << known.table;
  for (size_t i = 0; i < before.keys.size(); i++) {
    const Text& old = before.keys[i].name;
    if (SameName(old.c_str(), known.keys[i].name.c_str())) continue;
    Text sql("ALTER TABLE main.");
    (sql.Name(clocks.c_str()) << " RENAME COLUMN ").Name(old.c_str()) << " TO ";
    const int rc = connection->Execute(sql.Name(known.keys[i].name.c_str()).c_str());
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

int SaveColumns(Connection* connection, int64_t table_id, const Shape& now, const Shape* before,
                const Shape* known) {
  std::vector<SavedName> saved;
  int rc = LoadNames(connection, table_id, &saved);
  Statement statement;
  if (rc == SQLITE_OK) {
    rc = connection->Check(
        statement.Prepare(connection->api, connection->db,
                          "INSERT OR REPLACE INTO main._mergelite_columns (table_id, name, id) "
                          "VALUES (?1, ?2, ?3)"));
  }
  auto save = [&](const Text& name, int64_t id) {
    const SavedName* old = FindName(saved, name);
    if (rc != SQLITE_OK || (old != nullptr && old->id == id)) return;
    statement.Integer(1, table_id);
    statement.String(2, name.span());
    statement.Integer(3, id);
    rc = connection->Check(statement.Run());
  };
  // Key columns count from 0 down.
  for (size_t i = 0; i < now.keys.size(); i++) save(now.keys[i].name, -static_cast<int64_t>(i));
  const std::vector<int64_t> ids = ChooseIds(saved, now, before, known);
  for (size_t i = 0; i < ids.size(); i++) save(now.columns[i], ids[i]);
  return rc;
}

}  // namespace mergelite
