#include "identity.h"

#include "connection.h"
#include "merge.h"
#include "replication.h"

namespace mergelite {
namespace {

int ReadMark(Connection* connection, const char* key, Text* mark) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db, "SELECT value FROM main._mergelite_meta WHERE key = ?1"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, key);
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  *mark << query.ColumnText(0);
  return connection->Check(query.Reset());
}

int WriteMark(Connection* connection, const char* key, const Text& mark) {
  Value value;
  value.type = Type::kText;
  value.content = mark.span();
  return connection->log.SetMeta(connection, key, value);
}

int WriteOpeners(Connection* connection, int64_t openers) {
  Value value;
  value.type = Type::kInteger;
  value.integer = openers;
  return connection->log.SetMeta(connection, "openers", value);
}

bool Differ(const Text& stored, const Text& now) {
  return !stored.empty() && !now.empty() && !(stored.span() == now.span());
}

int CheckMarks(Connection* connection, const Text& file_mark, const Text& boot_mark,
               bool* renewed) {
  Text stored_file, stored_boot;
  int64_t openers = 0;
  int rc = ReadMark(connection, "file_mark", &stored_file);
  if (rc == SQLITE_OK) rc = ReadMark(connection, "boot_mark", &stored_boot);
  if (rc == SQLITE_OK) rc = connection->log.MetaInteger(connection, "openers", &openers);
  if (rc != SQLITE_OK) return rc;
  // Connections that were open when the machine went down may have lost their last commits.
  const bool rebooted = Differ(stored_boot, boot_mark);
  *renewed = Differ(stored_file, file_mark) || (rebooted && openers > 0);
  if (rebooted || *renewed) openers = 0;
  if (*renewed) {
    rc = connection->log.Refresh(connection);
    if (rc == SQLITE_OK) rc = connection->log.RenewIdentity(connection);
    if (rc != SQLITE_OK) return rc;
  }
  if (!file_mark.empty()) rc = WriteMark(connection, "file_mark", file_mark);
  if (rc == SQLITE_OK && !boot_mark.empty()) rc = WriteMark(connection, "boot_mark", boot_mark);
  return rc == SQLITE_OK ? WriteOpeners(connection, openers + 1) : rc;
}

}  // namespace

int OpenFile(Connection* connection, const Text& file_mark, const Text& boot_mark, bool* renewed) {
  if (connection->InTransaction()) {
    return connection->Fail("IN_TRANSACTION", "attach needs to run outside a transaction",
                            "Commit or roll back first.");
  }
  {
    Transaction transaction(connection);
    int rc = transaction.Begin();
    if (rc == SQLITE_OK) rc = connection->log.CreateTables(connection);
    if (rc == SQLITE_OK) rc = CheckMarks(connection, file_mark, boot_mark, renewed);
    connection->log.Invalidate();
    if (rc == SQLITE_OK) rc = transaction.Commit();
    if (rc != SQLITE_OK) return rc;
  }
  connection->catalog.Invalidate();
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = connection->log.Refresh(connection);
  if (rc == SQLITE_OK) rc = RenewStaleTables(connection);
  if (connection->merge == nullptr) connection->merge = std::make_unique<MergeState>();
  return rc;
}

int CloseFile(Connection* connection) {
  if (connection->InTransaction() || !connection->catalog.present()) return SQLITE_OK;
  Transaction transaction(connection);
  int64_t openers = 0;
  int rc = transaction.Begin();
  if (rc == SQLITE_OK) rc = connection->log.MetaInteger(connection, "openers", &openers);
  if (rc == SQLITE_OK && openers > 0) rc = WriteOpeners(connection, openers - 1);
  return rc == SQLITE_OK ? transaction.Commit() : rc;
}

int RenewIdentity(Connection* connection) {
  if (connection->InTransaction()) {
    return connection->Fail("IN_TRANSACTION",
                            "a new peer id needs to be taken outside a transaction",
                            "Commit or roll back first.");
  }
  Transaction transaction(connection);
  int rc = transaction.Begin();
  if (rc == SQLITE_OK) rc = connection->log.Refresh(connection);
  if (rc == SQLITE_OK) rc = connection->log.RenewIdentity(connection);
  if (rc == SQLITE_OK) rc = transaction.Commit();
  connection->log.Invalidate();
  return rc == SQLITE_OK ? connection->log.Refresh(connection) : rc;
}

}  // namespace mergelite
