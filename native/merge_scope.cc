#include "merge_scope.h"

#include <algorithm>

#include "connection.h"
#include "merge.h"

namespace mergelite {
namespace {

// More rows of a table than this are not tried one by one.
constexpr size_t kMutedRowsMax = 16;

}  // namespace

bool Mutes::Has(int64_t table, uint64_t row) {
  for (Mute& mute : mutes_) {
    if (mute.table == table && (mute.row == row || mute.row == 0)) return mute.used = true;
  }
  return false;
}

void Mutes::Add(int64_t table, uint64_t row) {
  const auto of_table = [table](const Mute& mute) { return mute.table == table; };
  const auto rows = std::count_if(mutes_.begin(), mutes_.end(), of_table);
  if (static_cast<size_t>(rows) >= kMutedRowsMax) {
    mutes_.erase(std::remove_if(mutes_.begin(), mutes_.end(), of_table), mutes_.end());
    row = 0;
  }
  mutes_.push_back({table, row, false});
}

void Mutes::Committed() {
  const auto used = [](const Mute& mute) { return mute.used; };
  mutes_.erase(std::remove_if(mutes_.begin(), mutes_.end(), used), mutes_.end());
}

void Mutes::RolledBack() {
  for (Mute& mute : mutes_) mute.used = false;
}

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
  // The setting is for all triggers, so it is left alone when the user has any.
  bool leave = true;
  const int rc = many_ ? HasUserTriggers(&leave) : SQLITE_OK;
  if (!leave) SetTriggers(false);
  return rc;
}

int MergeScope::Run(const Table& table, Span identity, Statement* statement) {
  if (!table.has_user_triggers) return statement->Run();
  Mutes& mutes = connection_->merge->mutes;
  // 0 stands for all rows.
  const uint64_t row = Hash64(identity) | 1;
  if (mutes.Has(table.id, row)) return RunWithoutTriggers(statement);
  const int rc = statement->Run();
  const bool ignored = rc == SQLITE_OK && connection_->api->changes(connection_->db) == 0;
  // Whether the row or what a trigger wrote has violated a constraint is not told.
  const bool failed = (rc & 0xff) == SQLITE_CONSTRAINT || (rc & 0xff) == SQLITE_ERROR;
  if (!ignored && !failed) return rc;
  if (connection_->InTransaction()) return RunWithoutTriggers(statement);
  mutes.Add(table.id, row);
  undone_ = true;
  return rc;
}

int MergeScope::RunWithoutTriggers(Statement* statement) {
  const bool turned_off = TurnTriggersOff();
  const int rc = statement->Run();
  if (turned_off) TurnTriggersOn();
  return rc;
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

int MergeScope::HasUserTriggers(bool* has) {
  *has = true;
  if (connection_->catalog.has_user_triggers()) return SQLITE_OK;
  Statement& query = connection_->merge->temp_triggers;
  int rc = connection_->Prepare(
      &query, "SELECT EXISTS (SELECT 1 FROM temp.sqlite_schema WHERE type = 'trigger')");
  if (rc != SQLITE_OK) return rc;
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection_->Check(rc);
  *has = query.ColumnInteger(0) != 0;
  return connection_->Check(query.Reset());
}

}  // namespace mergelite
