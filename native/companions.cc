#include "companions.h"

#include "connection.h"
#include "merge.h"
#include "renames.h"
#include "replication.h"
#include "table_sql.h"

namespace mergelite {
namespace {

constexpr const char* kReserved[] = {"_patchedAt", "_sequenceId", "_peerId"};

// Ordinary tables that are named like the companion of a table there is, and begin like one.
int Declared(Connection* connection, std::vector<Text>* tables) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT t.name FROM main.sqlite_schema AS p JOIN main.sqlite_schema AS t ON p.name = t.name "
      "|| '_patches' COLLATE NOCASE WHERE p.type = 'table' AND t.type = 'table' AND p.name LIKE "
      "'%\\_patches' ESCAPE '\\' AND p.sql NOT LIKE 'CREATE VIRTUAL%' AND EXISTS (SELECT 1 FROM "
      "pragma_table_info(p.name, 'main') WHERE lower(name) IN ('_patchedat', '_sequenceid', "
      "'_peerid'))"));
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    tables->push_back(Text(query.ColumnText(0)));
    rc = SQLITE_OK;
  }
  return connection->Check(rc);
}

bool Has(const TableInfo& info, const char* name) {
  for (const Text& column : info.shape.columns) {
    if (SameName(column.c_str(), name)) return true;
  }
  for (const KeyColumn& key : info.shape.keys) {
    if (SameName(key.name.c_str(), name)) return true;
  }
  return false;
}

// Exactly the reserved columns and those of the table.
int CheckColumns(Connection* connection, const TableInfo& info, const TableInfo& companion) {
  bool same = true;
  Text wanted("its columns must be ");
  for (const char* name : kReserved) {
    wanted << name << " INTEGER NOT NULL, ";
    same = same && Has(companion, name);
  }
  const char* separator = "";
  auto add = [&](const Text& name) {
    (wanted << separator).Name(name.c_str());
    separator = ", ";
    same = same && Has(companion, name.c_str());
  };
  for (const KeyColumn& key : info.shape.keys) add(key.name);
  for (const Text& column : info.shape.columns) add(column);
  const size_t count = info.shape.keys.size() + info.shape.columns.size() + 3;
  if (same && companion.shape.columns.size() + companion.shape.keys.size() == count) {
    return SQLITE_OK;
  }
  Text message("the companion ");
  message.Name(companion.name.c_str()) << " does not fit its table: " << wanted;
  return connection->Fail("COMPANION_MALFORMED", message,
                          "Alter it, or name it otherwise if it is none.");
}

// The newest patch of each key, where LogExistingRows finds it.
int KeepHistory(Connection* connection, const TableInfo& info, const Text& companion) {
  Text keys;
  AppendKeyNames(&keys, info.shape);
  Text sql(
      "DROP TABLE IF EXISTS temp._mergelite_history; CREATE TEMP TABLE _mergelite_history AS ");
  sql << "SELECT " << keys << ", max(_patchedAt) AS _patchedAt FROM main.";
  sql.Name(companion.c_str()) << " GROUP BY " << keys << "; DROP TABLE main.";
  return connection->Execute(sql.Name(companion.c_str()).c_str());
}

int Take(Connection* connection, const Text& name) {
  Text companion = name.Copy();
  companion << "_patches";
  TableInfo info, declared;
  int rc = DescribeTable(connection, name.c_str(), &info);
  if (rc == SQLITE_OK) rc = DescribeTable(connection, companion.c_str(), &declared);
  if (rc != SQLITE_OK) return rc;
  if (info.kind != TableInfo::Kind::kTable) return SQLITE_OK;
  rc = CheckColumns(connection, info, declared);
  if (rc == SQLITE_OK) rc = KeepHistory(connection, info, companion);
  if (rc != SQLITE_OK) return rc;
  connection->has_history = true;
  Text sql("CREATE VIRTUAL TABLE main.");
  sql.Name(companion.c_str()) << " USING mergelite(";
  rc = connection->Execute((sql.Name(name.c_str()) << ")").c_str());
  connection->has_history = false;
  const int dropped = connection->Execute("DROP TABLE IF EXISTS temp._mergelite_history");
  return rc == SQLITE_OK ? dropped : rc;
}

}  // namespace

int TakeDeclared(Connection* connection) {
  const OwnSchemaChange own(connection);
  std::vector<Text> tables;
  int rc = Declared(connection, &tables);
  for (size_t i = 0; rc == SQLITE_OK && i < tables.size(); i++) rc = Take(connection, tables[i]);
  return rc;
}

int TakeDeclaredNow(Connection* connection) {
  std::vector<Text> tables;
  int rc = Declared(connection, &tables);
  if (rc != SQLITE_OK || tables.empty()) return rc;
  if (connection->InTransaction()) {
    return connection->Fail("IN_TRANSACTION", "companions are taken over in a transaction",
                            "Commit or roll back first.");
  }
  Transaction transaction(connection);
  rc = transaction.Begin();
  if (rc == SQLITE_OK) rc = TakeDeclared(connection);
  return rc == SQLITE_OK ? transaction.Commit() : rc;
}

}  // namespace mergelite
