// After a schema change: every table's capture is brought up to date with what the table is now.
#include "adopt.h"
#include "bootstrap.h"
#include "connection.h"
#include "fills.h"
#include "merge.h"
#include "ranges.h"
#include "renames.h"
#include "replication.h"
#include "triggers.h"

namespace mergelite {
namespace {

// Under another key the rows are others: nothing remembered of the old ones is about them. What is
// parked of them waits for a table with their key, as what comes of them from peers does.
int ForgetRows(Connection* connection, const Text& table) {
  Text clocks("_mergelite_clock_");
  clocks << table;
  Text ranges, sql("DROP TABLE IF EXISTS main.");
  AppendRangesName(&ranges, table);
  // Its id is never given again: row clocks in memory still carry it.
  sql.Name(clocks.c_str())
      << "; DROP TABLE IF EXISTS " << ranges
      << "; UPDATE main._mergelite_tables SET name = '(' || id || ') ' || name, "
         "active = 0 WHERE name = ";
  sql.Literal(table.c_str());
  sql << "; DELETE FROM main._mergelite_parked WHERE reason = 'check' AND table_name = ";
  sql.Literal(table.c_str());
  sql << "; UPDATE main._mergelite_parked SET reason = 'table', detail = '' WHERE table_name = ";
  sql.Literal(table.c_str());
  return connection->Execute(sql.c_str());
}

// The name of another table's companion cannot be had.
int CompanionIsTaken(Connection* connection, const Text& table, bool* taken) {
  Text companion = table.Copy();
  companion << "_patches";
  TableInfo info;
  const int rc = DescribeTable(connection, companion.c_str(), &info);
  *taken = info.kind != TableInfo::Kind::kMissing;
  return rc;
}

int EndReplication(Connection* connection, const Text& table, bool forget) {
  Text companion = table.Copy();
  companion << "_patches";
  Text sql("DROP TABLE IF EXISTS main.");
  const int rc = connection->Execute(sql.Name(companion.c_str()).c_str());
  return rc == SQLITE_OK && forget ? ForgetRows(connection, table) : rc;
}

int MakeCompanion(Connection* connection, const Text& table) {
  const CompanionsAside aside(connection);
  Text companion = table.Copy();
  companion << "_patches";
  Text sql("CREATE VIRTUAL TABLE main.");
  sql.Name(companion.c_str()) << " USING mergelite(";
  return connection->Execute((sql.Name(table.c_str()) << ")").c_str());
}

// What a migration says of the columns of a table that it has made anew.
void TrackDeclared(Connection* connection, const Table& table, Tracked* tracked) {
  auto today = [&](const Text& name) {
    for (const auto& rename : connection->declared_renames) {
      if (SameName(rename.table.c_str(), table.name.c_str()) &&
          SameName(rename.from.c_str(), name.c_str())) {
        return rename.to.Copy();
      }
    }
    return name.Copy();
  };
  tracked->table = table.name.Copy();
  for (const KeyColumn& key : table.shape->keys) tracked->names.push_back(today(key.name));
  for (const Text& column : table.shape->columns) tracked->names.push_back(today(column));
}

}  // namespace

int RenewTable(Connection* connection, const Text& name, bool step) {
  Catalog& catalog = connection->catalog;
  Table* table = catalog.FindTable(name.c_str());
  Tracked tracked;
  int rc = ReadTracked(connection, *table, &tracked);
  const bool lost_triggers = tracked.table.empty();
  if (lost_triggers) TrackDeclared(connection, *table, &tracked);
  const bool moved = !SameName(tracked.table.c_str(), name.c_str());
  TableInfo info;
  bool taken = false;
  const Text& today = tracked.table;
  if (rc == SQLITE_OK) rc = DescribeTable(connection, today.c_str(), &info);
  if (rc == SQLITE_OK && moved) rc = CompanionIsTaken(connection, today, &taken);
  if (rc != SQLITE_OK) return rc;
  const Shape& before = *table->shape;
  const Shape known = UnderNewNames(before, tracked);
  // A table that is gone, or that means other rows now, is no longer replicated from here.
  const bool other_rows = !SameKey(info.shape, known);
  if (info.kind != TableInfo::Kind::kTable || other_rows || taken) {
    rc = DropTriggers(connection, today.c_str());
    if (rc == SQLITE_OK && step) rc = StopReplication(connection, name.c_str());
    return rc == SQLITE_OK ? EndReplication(connection, name, other_rows) : rc;
  }
  // None of them may stand in the way of what follows.
  rc = DropTriggers(connection, today.c_str());
  if (rc == SQLITE_OK && moved) rc = MoveTable(connection, *table, info.name);
  if (rc == SQLITE_OK) rc = RenameKeys(connection, before, known);
  if (rc == SQLITE_OK) rc = Adopt(connection, info, &before, &known);
  if (rc != SQLITE_OK) return rc;
  catalog.Invalidate();
  rc = catalog.Refresh(connection);
  if (rc == SQLITE_OK && (moved || step)) rc = MakeCompanion(connection, info.name);
  if (rc == SQLITE_OK) rc = catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = catalog.Check(connection, table);
  if (rc == SQLITE_OK) rc = connection->log.Refresh(connection);
  if (rc != SQLITE_OK) return rc;
  // What was written while nobody captured is written again, as of now.
  if (lost_triggers) return LogExistingRows(connection, table, true);
  return step ? LogFills(connection, table, known) : LogNewColumns(connection, table, known);
}

int RenewStaleTables(Connection* connection) {
  Catalog& catalog = connection->catalog;
  std::vector<Text> stale;
  int rc = catalog.CheckAll(connection);
  if (rc != SQLITE_OK) return rc;
  for (const auto& table : catalog.tables()) {
    if (!table->active) continue;
    if (table->stale || table->outranked) stale.push_back(table->name.Copy());
  }
  if (stale.empty()) return SQLITE_OK;
  const OwnSchemaChange own(connection);
  Transaction transaction(connection);
  rc = transaction.Begin();
  for (size_t i = 0; rc == SQLITE_OK && i < stale.size(); i++)
    rc = RenewTable(connection, stale[i], false);
  if (rc == SQLITE_OK) rc = transaction.Commit();
  if (rc != SQLITE_OK) {
    catalog.Forget();
    connection->log.Invalidate();
    if (connection->merge != nullptr) connection->merge->targets.clear();
    return rc;
  }
  connection->log.Committed(connection);
  if (connection->bell != nullptr) connection->bell(connection->bell_context);
  return catalog.Refresh(connection);
}

}  // namespace mergelite
