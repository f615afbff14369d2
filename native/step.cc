#include "step.h"

#include "adopt.h"
#include "companions.h"
#include "connection.h"
#include "merge.h"
#include "renames.h"
#include "replication.h"
#include "table_sql.h"
#include "triggers.h"

namespace mergelite {
namespace {

constexpr const char* kRefusal =
    "SELECT RAISE(ABORT, 'MIGRATION_WRITES: a migration may fill the columns that it adds to a "
    "replicated table, and write no other rows or columns of it'); END";

// Says what a step may not do, and by its list of columns what they are called when it ends.
void AppendGuards(Text* sql, const Table& table) {
  const char* const events[] = {"UPDATE OF ", "INSERT", "DELETE"};
  const char* const names[] = {"_mergelite_step_", "_mergelite_step_insert_",
                               "_mergelite_step_delete_"};
  for (int i = 0; i < 3; i++) {
    Text name(names[i]);
    name << static_cast<uint64_t>(table.id);
    (*sql << "CREATE TRIGGER main.").Name(name.c_str()) << " BEFORE " << events[i];
    if (i == 0) {
      AppendKeyNames(sql, *table.shape);
      for (const Text& column : table.shape->columns) (*sql << ", ").Name(column.c_str());
    }
    (*sql << " ON ").Name(table.name.c_str()) << " BEGIN " << kRefusal << ";";
  }
}

int OpenTable(Connection* connection, const Table& table) {
  int rc = DropTriggers(connection, table.name.c_str());
  if (rc != SQLITE_OK) return rc;
  Text companion = table.name.Copy();
  companion << "_patches";
  Text sql("DROP TABLE IF EXISTS main.");
  sql.Name(companion.c_str()) << "; CREATE TABLE main.";
  sql.Name(companion.c_str())
      << " (_patchedAt INTEGER NOT NULL, _sequenceId INTEGER NOT NULL, _peerId INTEGER NOT NULL";
  for (const KeyColumn& key : table.shape->keys) (sql << ", ").Name(key.name.c_str()) << " ANY";
  for (const Text& column : table.shape->columns) (sql << ", ").Name(column.c_str()) << " ANY";
  sql << ") STRICT;";
  AppendGuards(&sql, table);
  return connection->Execute(sql.c_str());
}

// Drops the ordinary table that stood for a companion. `there`: it was, and was one.
int DropOrdinary(Connection* connection, const Text& table, bool* there) {
  Text companion = table.Copy();
  companion << "_patches";
  TableInfo info;
  int rc = DescribeTable(connection, companion.c_str(), &info);
  if (rc != SQLITE_OK || info.kind != TableInfo::Kind::kTable) return rc;
  *there = true;
  Text sql("DROP TABLE main.");
  return connection->Execute(sql.Name(companion.c_str()).c_str());
}

int CloseTable(Connection* connection, int64_t id) {
  const Table* table = connection->catalog.TableById(id);
  if (table == nullptr) return SQLITE_OK;
  const Text name = table->name.Copy();
  Tracked tracked;
  int rc = ReadTracked(connection, *table, &tracked);
  bool there = false;
  if (rc == SQLITE_OK) rc = DropOrdinary(connection, name, &there);
  if (rc == SQLITE_OK && !tracked.table.empty() && !SameName(tracked.table.c_str(), name.c_str())) {
    rc = DropOrdinary(connection, tracked.table, &there);
  }
  if (rc != SQLITE_OK) return rc;
  if (there) return RenewTable(connection, name, true);
  // The step has dropped the companion.
  if (!tracked.table.empty()) rc = DropTriggers(connection, tracked.table.c_str());
  return rc == SQLITE_OK ? StopReplication(connection, name.c_str()) : rc;
}

int CloseTables(Connection* connection) {
  const OwnSchemaChange own(connection);
  const KeepRowid keep(connection);
  connection->catalog.Invalidate();
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = connection->log.Refresh(connection);
  for (size_t i = 0; rc == SQLITE_OK && i < connection->step_tables.size(); i++) {
    rc = CloseTable(connection, connection->step_tables[i]);
  }
  if (rc == SQLITE_OK) rc = TakeDeclared(connection);
  return rc;
}

}  // namespace

int BeginStep(Connection* connection) {
  if (connection->InTransaction()) {
    return connection->Fail("IN_TRANSACTION", "a migration makes transactions of its own",
                            "Commit or roll back first.");
  }
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = RenewStaleTables(connection);
  if (rc == SQLITE_OK) rc = connection->Execute("BEGIN IMMEDIATE");
  if (rc != SQLITE_OK) return rc;
  const OwnSchemaChange own(connection);
  const CompanionsAside aside(connection);
  rc = connection->catalog.Refresh(connection);
  connection->step_tables.clear();
  for (const auto& table : connection->catalog.tables()) {
    if (table->active) connection->step_tables.push_back(table->id);
  }
  for (size_t i = 0; rc == SQLITE_OK && i < connection->step_tables.size(); i++) {
    rc = OpenTable(connection, *connection->catalog.TableById(connection->step_tables[i]));
  }
  if (rc != SQLITE_OK) {
    AbandonStep(connection);
    return rc;
  }
  connection->migrating = true;
  return SQLITE_OK;
}

int CommitStep(Connection* connection) {
  int rc = SQLITE_OK;
  if (!connection->InTransaction()) {
    rc = connection->Fail("MIGRATION_FAILED", "the step has ended its transaction",
                          "A step must neither commit nor roll back.");
  }
  if (rc == SQLITE_OK) rc = CloseTables(connection);
  connection->migrating = false;
  if (rc == SQLITE_OK) rc = connection->Execute("COMMIT");
  if (rc != SQLITE_OK) {
    AbandonStep(connection);
    return rc;
  }
  connection->log.Committed(connection);
  if (connection->bell != nullptr) connection->bell(connection->bell_context);
  return connection->catalog.Refresh(connection);
}

void AbandonStep(Connection* connection) {
  connection->migrating = false;
  connection->Rollback();
  if (connection->merge != nullptr) {
    connection->merge->clocks.Forget(connection);
    connection->merge->targets.clear();
  }
  connection->catalog.Forget();
  connection->log.Invalidate();
}

}  // namespace mergelite
