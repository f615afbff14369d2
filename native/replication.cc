#include "replication.h"

#include "adopt.h"
#include "bootstrap.h"
#include "clocks.h"
#include "connection.h"
#include "merge.h"
#include "renames.h"
#include "table_sql.h"
#include "triggers.h"

namespace mergelite {
namespace {

// SQLite allows 2,000 columns, of which companions and capture need a few.
constexpr size_t kColumnsReplicatedMax = 1980;

constexpr const char* kReservedColumns[] = {"_patchedAt", "_sequenceId", "_peerId",         "_op",
                                            "_columns",   "_patch",      "_mergelite_clock"};

bool HasPrefix(const char* text, const char* prefix) {
  for (; *prefix != 0; text++, prefix++) {
    if (Fold(*text) != Fold(*prefix)) return false;
  }
  return true;
}

Text About(const TableInfo& info, const char* name, const char* what) {
  Text message("table ");
  message.Name(info.name.empty() ? name : info.name.c_str()) << what;
  return message;
}

int RefuseColumn(Connection* connection, const TableInfo& info, const Text& column) {
  for (const char* reserved : kReservedColumns) {
    if (!SameName(column.c_str(), reserved)) continue;
    Text message = About(info, "", " has a column ");
    message.Name(column.c_str()) << ", a name that its companion needs";
    return connection->Fail("TABLE_RESERVED_COLUMN", message, "Rename the column.");
  }
  return SQLITE_OK;
}

// Says what stands in the way of replicating a table, if anything does.
int Refuse(Connection* connection, const char* name, const TableInfo& info) {
  if (HasPrefix(name, "_mergelite_") || HasPrefix(name, "sqlite_")) {
    return connection->Fail("TABLE_UNSUPPORTED", About(info, name, " is a system table"),
                            "Name a table of your own.");
  }
  if (info.kind == TableInfo::Kind::kMissing) {
    return connection->Fail("TABLE_MISSING", About(info, name, " does not exist"),
                            "Create the table first; names are those of the main database.");
  }
  if (info.kind != TableInfo::Kind::kTable) {
    return connection->Fail("TABLE_UNSUPPORTED", About(info, name, " is a view or a virtual table"),
                            "Replicate the ordinary tables it is made of.");
  }
  if (info.shape.keys.empty()) {
    return connection->Fail(
        "TABLE_NO_KEY", About(info, name, " has no declared primary key"),
        "Declare one, for example `id INTEGER PRIMARY KEY` or `id TEXT PRIMARY KEY NOT NULL`: a "
        "rowid alone can change in VACUUM and means another row on every peer.");
  }
  for (size_t i = 0; i < info.collations.size(); i++) {
    const char* collation = info.collations[i].c_str();
    if (SameName(collation, "BINARY") || SameName(collation, "NOCASE") ||
        SameName(collation, "RTRIM")) {
      continue;
    }
    return connection->Fail("KEY_COLLATION",
                            About(info, name, " has a key with a collation of its own"),
                            "Peers without that collation could not tell its rows apart: use "
                            "BINARY, NOCASE or RTRIM for key columns.");
  }
  if (info.shape.keys.size() + info.shape.columns.size() > kColumnsReplicatedMax) {
    return connection->Fail("TABLE_TOO_WIDE", About(info, name, " has more than 1,980 columns"),
                            "Split the table.");
  }
  for (const KeyColumn& key : info.shape.keys) {
    const int rc = RefuseColumn(connection, info, key.name);
    if (rc != SQLITE_OK) return rc;
  }
  for (const Text& column : info.shape.columns) {
    const int rc = RefuseColumn(connection, info, column);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

int SaveTable(Connection* connection, const TableInfo& info, Wiring* wiring, const Shape* before,
              const Shape* known) {
  Statement statement;
  int rc = connection->Check(statement.Prepare(
      connection->api, connection->db,
      "INSERT INTO main._mergelite_tables (name, shape_id, active, old_values) VALUES (?1, ?2, 1, "
      "coalesce((SELECT value FROM main._mergelite_meta WHERE key = 'old_values'), 0)) ON CONFLICT "
      "(name) DO UPDATE SET shape_id = excluded.shape_id, active = 1 RETURNING id, old_values"));
  if (rc != SQLITE_OK) return rc;
  statement.String(1, info.name.span());
  statement.Integer(2, wiring->shape_id);
  rc = statement.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  const int64_t table_id = statement.ColumnInteger(0);
  wiring->old_values = statement.ColumnInteger(1) != 0;
  rc = connection->Check(statement.Reset());
  if (rc != SQLITE_OK) return rc;
  return SaveColumns(connection, table_id, info.shape, before, known);
}

int CreateClockTable(Connection* connection, const TableInfo& info) {
  Text name("_mergelite_clock_");
  name << info.name;
  Text sql("CREATE TABLE IF NOT EXISTS main.");
  sql.Name(name.c_str()) << " (";
  for (size_t i = 0; i < info.shape.keys.size(); i++) {
    sql.Name(info.shape.keys[i].name.c_str()) << " ";
    if (info.integer_key) {
      sql << "INTEGER PRIMARY KEY, ";
      continue;
    }
    AppendKeyType(&sql, info, i);
    sql << " NOT NULL, ";
  }
  sql << "_mergelite_clock BLOB NOT NULL";
  if (!info.integer_key) {
    sql << ", PRIMARY KEY (";
    AppendKeyNames(&sql, info.shape);
    sql << ")";
  }
  sql << (info.integer_key ? ")" : ") WITHOUT ROWID");
  return connection->Execute(sql.c_str());
}

// System tables, and memory that agrees with them.
int PrepareFile(Connection* connection) {
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK && !connection->catalog.present()) {
    rc = connection->log.CreateTables(connection);
    connection->catalog.Invalidate();
    if (rc == SQLITE_OK) rc = connection->catalog.Refresh(connection);
  }
  if (rc != SQLITE_OK) return rc;
  connection->log.Invalidate();
  return connection->log.Refresh(connection);
}

}  // namespace

bool SameKey(const Shape& a, const Shape& b) {
  bool same = a.keys.size() == b.keys.size();
  for (size_t i = 0; same && i < a.keys.size(); i++) {
    same = SameName(a.keys[i].name.c_str(), b.keys[i].name.c_str()) &&
           a.keys[i].collation == b.keys[i].collation;
  }
  return same;
}

int Adopt(Connection* connection, const TableInfo& info, const Shape* before, const Shape* known) {
  Bytes descriptor;
  EncodeShape(info.shape, &descriptor);
  int64_t shape_id = 0;
  int rc = connection->catalog.AddShape(connection, descriptor.span(), &shape_id);
  if (rc != SQLITE_OK) return rc;
  if (shape_id > kShapeIdMax) {
    return connection->Fail("TOO_MANY_SHAPES", "this file has seen a million table shapes",
                            "Start a new file from a snapshot.");
  }
  Wiring wiring{shape_id, connection->log.tag(), false};
  rc = SaveTable(connection, info, &wiring, before, known);
  if (rc == SQLITE_OK) rc = CreateClockTable(connection, info);
  return rc == SQLITE_OK ? CreateTriggers(connection, info, wiring) : rc;
}

int StartReplication(Connection* connection, const char* name) {
  const KeepRowid keep(connection);
  const OwnSchemaChange own(connection);
  if (connection->capture.has_parts()) {
    return connection->Fail("TRANSACTION_TOO_LARGE",
                            "replication cannot start within a transaction this large",
                            "Commit first.");
  }
  Starting* together = connection->starting;
  TableInfo info;
  int rc = together == nullptr ? DescribeTable(connection, name, &info)
                               : DescribeTable(connection, name, together->schema, &info);
  if (rc == SQLITE_OK) rc = Refuse(connection, name, info);
  if (rc == SQLITE_OK && (together == nullptr || together->adopted.empty())) {
    rc = PrepareFile(connection);
  }
  if (rc != SQLITE_OK) return rc;
  std::vector<Starting::Adopted> adopted;
  const Table* known = connection->catalog.FindTable(info.name.c_str());
  const bool returning = known != nullptr;
  if (returning && known->shape != nullptr && !SameKey(*known->shape, info.shape)) {
    return connection->Fail("SCHEMA_STALE", About(info, "", " has another key than before"),
                            "Attach a replica to the file once: it forgets the rows of old.");
  }
  rc = Adopt(connection, info, nullptr, nullptr);
  if (rc != SQLITE_OK) return rc;
  adopted.push_back({info.name.Copy(), returning});
  if (together == nullptr) return LogAdopted(connection, adopted);
  together->adopted.push_back(static_cast<Starting::Adopted&&>(adopted.back()));
  return SQLITE_OK;
}

int LogAdopted(Connection* connection, const std::vector<Starting::Adopted>& adopted) {
  connection->catalog.Invalidate();
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK && adopted.size() > 1) rc = connection->catalog.CheckAll(connection);
  for (size_t i = 0; rc == SQLITE_OK && i < adopted.size(); i++) {
    Table* table = connection->catalog.FindTable(adopted[i].name.c_str());
    rc = connection->catalog.Check(connection, table);
    if (rc == SQLITE_OK) rc = LogExistingRows(connection, table, adopted[i].returning);
  }
  return rc;
}

int StopReplication(Connection* connection, const char* name) {
  const KeepRowid keep(connection);
  const OwnSchemaChange own(connection);
  int rc = DropTriggers(connection, name);
  // Patches of a table that is not replicated leave no clocks when the log is read: fold those it
  // has while it still is, for the day it returns.
  if (rc == SQLITE_OK) rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK && connection->catalog.present()) {
    rc = connection->log.Refresh(connection);
    if (rc == SQLITE_OK) rc = FoldEverything(connection);
  }
  if (rc != SQLITE_OK) return rc;
  Statement statement;
  rc = connection->Check(
      statement.Prepare(connection->api, connection->db,
                        "UPDATE main._mergelite_tables SET active = 0 WHERE name = ?1"));
  // Without system tables there is nothing to note.
  if (rc != SQLITE_OK) return connection->catalog.present() ? rc : SQLITE_OK;
  statement.String(1, name);
  rc = connection->Check(statement.Run());
  connection->catalog.Invalidate();
  // A table that was renamed has taken its triggers along.
  return rc == SQLITE_OK ? DropStrayTriggers(connection) : rc;
}

int Detach(Connection* connection) {
  if (connection->InTransaction()) {
    return connection->Fail("IN_TRANSACTION", "detach needs to run outside a transaction",
                            "Commit or roll back first.");
  }
  int rc = connection->catalog.Refresh(connection);
  if (rc != SQLITE_OK || !connection->catalog.present()) return rc;
  Transaction transaction(connection);
  rc = transaction.Begin();
  if (rc != SQLITE_OK) return rc;
  std::vector<Text> statements;
  Statement query;
  rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT CASE WHEN type = 'trigger' THEN 'TRIGGER' ELSE 'TABLE' END, name FROM "
      "main.sqlite_schema WHERE (type = 'trigger' AND substr(name, 1, 11) = '_mergelite_') OR "
      "(type = 'table' AND (substr(name, 1, 11) = '_mergelite_' OR sql LIKE 'CREATE VIRTUAL "
      "TABLE%USING mergelite%')) ORDER BY substr(name, 1, 11) = '_mergelite_', type DESC"));
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    Text sql("DROP ");
    sql << query.ColumnText(0) << " main.";
    sql.Name(query.ColumnText(1));
    statements.push_back(static_cast<Text&&>(sql));
    rc = SQLITE_OK;
  }
  if (rc != SQLITE_OK) return connection->Check(rc);
  query.Finalize();
  connection->Finalize();
  connection->finalized = false;
  for (size_t i = 0; rc == SQLITE_OK && i < statements.size(); i++) {
    const Text& sql = statements[i];
    // Ending a companion drops its table's triggers, which are listed too.
    Text guarded("DROP TRIGGER IF EXISTS ");
    if (memcmp(sql.c_str(), "DROP TRIGGER ", 13) == 0) {
      guarded << sql.c_str() + 13;
      rc = connection->Execute(guarded.c_str());
    } else {
      rc = connection->Execute(sql.c_str());
    }
  }
  if (rc == SQLITE_OK) rc = transaction.Commit();
  connection->catalog.Invalidate();
  connection->log.Invalidate();
  if (rc == SQLITE_OK) {
    connection->merge.reset();
    connection->log.Forget();
  }
  return rc;
}

}  // namespace mergelite
