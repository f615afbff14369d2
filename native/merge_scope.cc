#include "merge_scope.h"

#include "connection.h"
#include "merge.h"

namespace mergelite {

MergeScope::MergeScope(Connection* connection, bool many)
    : connection_(connection),
      rowid_(connection->api->last_insert_rowid(connection->db)),
      many_(many) {
  connection->merging = true;
}

MergeScope::~MergeScope() {
  const Api* api = connection_->api;
  sqlite3* db = connection_->db;
  if (foreign_keys_off_) api->db_config(db, SQLITE_DBCONFIG_ENABLE_FKEY, 1, nullptr);
  if (triggers_off_) api->db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 1, nullptr);
  api->set_last_insert_rowid(db, rowid_);
  connection_->merging = false;
  connection_->merge->scope = nullptr;
}

int MergeScope::StartWriting() {
  writing_ = true;
  const Api* api = connection_->api;
  sqlite3* db = connection_->db;
  // A child may arrive before its parent. Each of these settings makes SQLite compile all
  // statements again, so each is touched only where it matters.
  if (connection_->catalog.has_foreign_keys()) {
    int enforced = 0;
    api->db_config(db, SQLITE_DBCONFIG_ENABLE_FKEY, -1, &enforced);
    if (enforced != 0) {
      api->db_config(db, SQLITE_DBCONFIG_ENABLE_FKEY, 0, nullptr);
      foreign_keys_off_ = true;
    }
  }
  bool may = false;
  const int rc = many_ ? MayTurnTriggersOff(&may) : SQLITE_OK;
  if (may) SetTriggers(false);
  return rc;
}

int MergeScope::Run(const Table& table, Statement* statement) {
  const Api* api = connection_->api;
  const int rc = statement->Run();
  if (!table.has_user_triggers || !connection_->InTransaction()) return rc;
  const bool ignored = rc == SQLITE_OK && api->changes(connection_->db) == 0;
  if (!ignored && api->extended_errcode(connection_->db) != SQLITE_CONSTRAINT_TRIGGER) return rc;
  if (!TurnTriggersOff()) return rc;
  const int again = statement->Run();
  TurnTriggersOn();
  return again;
}

// Turns on only what it has turned off: without triggers is how the user may want it.
bool MergeScope::SetTriggers(bool on) {
  const Api* api = connection_->api;
  sqlite3* db = connection_->db;
  int enabled = 0;
  api->db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, -1, &enabled);
  if ((enabled != 0) == on || (on && !triggers_off_)) return false;
  api->db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, on ? 1 : 0, nullptr);
  triggers_off_ = !on;
  return true;
}

// The setting is for all triggers, so it is left alone when the user has any.
int MergeScope::MayTurnTriggersOff(bool* may) {
  *may = false;
  if (connection_->catalog.has_user_triggers()) return SQLITE_OK;
  Statement& query = connection_->merge->temp_triggers;
  int rc = connection_->Prepare(
      &query, "SELECT EXISTS (SELECT 1 FROM temp.sqlite_schema WHERE type = 'trigger')");
  if (rc != SQLITE_OK) return rc;
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection_->Check(rc);
  *may = query.ColumnInteger(0) == 0;
  return connection_->Check(query.Reset());
}

}  // namespace mergelite
