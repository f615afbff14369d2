#include "old_values.h"

#include "connection.h"
#include "merge.h"
#include "triggers.h"

namespace mergelite {
namespace {

int SaveForLaterTables(Connection* connection, bool all) {
  Value value;
  value.type = Type::kInteger;
  value.integer = all ? 1 : 0;
  return connection->log.SetMeta(connection, "old_values", value);
}

int SaveTable(Connection* connection, const Table& table, bool wanted) {
  Statement statement;
  const int rc = connection->Check(
      statement.Prepare(connection->api, connection->db,
                        "UPDATE main._mergelite_tables SET old_values = ?2 WHERE id = ?1"));
  if (rc != SQLITE_OK) return rc;
  statement.Integer(1, table.id);
  statement.Integer(2, wanted ? 1 : 0);
  return connection->Check(statement.Run());
}

// The triggers are what makes other connections look again.
int SetTable(Connection* connection, const Table& table, bool wanted) {
  int rc = SaveTable(connection, table, wanted);
  TableInfo info;
  if (rc == SQLITE_OK && table.active) rc = DescribeTable(connection, table.name.c_str(), &info);
  if (rc != SQLITE_OK || !table.active) return rc;
  return CreateTriggers(connection, info, {table.shape_id, connection->log.tag(), wanted});
}

class Wanted {
 public:
  Wanted(const std::vector<Text>& names, bool all) : names_(names), all_(all) {}
  bool Has(const Table& table) const {
    bool named = all_;
    for (const Text& name : names_) named = named || SameName(name.c_str(), table.name.c_str());
    return named;
  }

 private:
  const std::vector<Text>& names_;
  bool all_;
};

int CheckNames(Connection* connection, const std::vector<Text>& names) {
  for (const Text& name : names) {
    const Table* table = connection->catalog.FindTable(name.c_str());
    if (table != nullptr && table->active) continue;
    Text message("table ");
    message.Name(name.c_str()) << " is not replicated, so it has no old values to keep";
    return connection->Fail("TABLE_NOT_REPLICATED", message,
                            "Name it in the option tables as well, or make its companion first.");
  }
  return SQLITE_OK;
}

int Change(Connection* connection, const std::vector<Text>& names, bool all) {
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = connection->log.Refresh(connection);
  if (rc == SQLITE_OK) rc = CheckNames(connection, names);
  if (rc == SQLITE_OK) rc = SaveForLaterTables(connection, all);
  const Wanted wanted(names, all);
  for (const auto& table : connection->catalog.tables()) {
    if (rc != SQLITE_OK || !table->listed || wanted.Has(*table) == table->old_values) continue;
    rc = SetTable(connection, *table, !table->old_values);
  }
  return rc;
}

}  // namespace

int KeepOldValues(Connection* connection, const std::vector<Text>& names, bool all) {
  int64_t later = 0;
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = connection->log.MetaInteger(connection, "old_values", &later);
  if (rc != SQLITE_OK) return rc;
  const Wanted wanted(names, all);
  bool same = all == (later != 0);
  for (const auto& table : connection->catalog.tables()) {
    same = same && (!table->listed || wanted.Has(*table) == table->old_values);
  }
  if (same) return CheckNames(connection, names);
  const OwnSchemaChange own(connection);
  Transaction transaction(connection);
  rc = transaction.Begin();
  if (rc == SQLITE_OK) rc = Change(connection, names, all);
  if (rc == SQLITE_OK) rc = transaction.Commit();
  if (rc != SQLITE_OK) {
    connection->catalog.Forget();
    connection->log.Invalidate();
    if (connection->merge != nullptr) connection->merge->targets.clear();
    return rc;
  }
  connection->log.Committed(connection);
  return connection->catalog.Refresh(connection);
}

int DropOldValues(Connection* connection, const Origin& origin, uint64_t after, uint64_t last) {
  if (!IsOwn(origin.ordinal)) return SQLITE_OK;
  Statement statement;
  const int rc = connection->Check(
      statement.Prepare(connection->api, connection->db,
                        "DELETE FROM main._mergelite_old WHERE id > ?1 AND id <= ?2"));
  if (rc != SQLITE_OK) return rc;
  statement.Integer(1, LogBase(origin.ordinal) + static_cast<int64_t>(after));
  statement.Integer(2, LogBase(origin.ordinal) + static_cast<int64_t>(last));
  return connection->Check(statement.Run());
}

int MoveOldValues(Connection* connection, int64_t after, int64_t last, int64_t by) {
  Statement statement;
  const int rc = connection->Check(
      statement.Prepare(connection->api, connection->db,
                        "UPDATE main._mergelite_old SET id = id + ?3 WHERE id > ?1 AND id <= ?2"));
  if (rc != SQLITE_OK) return rc;
  statement.Integer(1, after);
  statement.Integer(2, last);
  statement.Integer(3, by);
  return connection->Check(statement.Run());
}

}  // namespace mergelite
