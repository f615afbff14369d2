#include "schema_watch.h"

#include "column_drop.h"
#include "connection.h"
#include "replication.h"

namespace mergelite {
namespace {

bool IsAlter(const char* sql) {
  if (sql == nullptr) return false;
  for (const char* at = sql; *at != 0; at++) {
    static constexpr char kWord[] = "alter";
    size_t i = 0;
    while (kWord[i] != 0 && Fold(at[i]) == kWord[i]) i++;
    if (kWord[i] == 0) return true;
  }
  return false;
}

bool WantsCheckpoint(Connection* connection, bool main, int frames) {
  if (!main) return connection->checkpoints.wanted(frames);
  // A shipper has to read frames before they go, and checkpoints for itself.
  if (connection->shipping == nullptr) return connection->checkpoints.AfterCommit(frames);
  return connection->shipping(connection->shipping_context, frames);
}

}  // namespace

// SQLite asks an authorizer about every statement it compiles, which tells schema changes from the
// rest at no cost to statements that run. It tells of WAL commits when the lock is free again,
// which is the first moment at which triggers can be made anew.
int SchemaWatch::Start(Connection* connection) {
  connection_ = connection;
  const Api* api = connection->api;
  sqlite3* db = connection->db;
  Statement query;
  int rc = query.Prepare(api, db, "PRAGMA wal_autocheckpoint");
  if (rc != SQLITE_OK) return rc;
  // The WAL hook takes the place of automatic checkpoints, so it sees to them.
  rc = query.Step();
  if (rc != SQLITE_ROW) return rc == SQLITE_OK ? SQLITE_INTERNAL : rc;
  connection->checkpoints.Start(connection, static_cast<int>(query.ColumnInteger(0)));
  query.Finalize();
  api->wal_hook(db, AfterCommit, this);
  api->commit_hook(db, BeforeCommit, this);
  return api->set_authorizer(db, Authorize, this);
}

int SchemaWatch::Authorize(void* context, int action, const char* name, const char* column,
                           const char* schema, const char* trigger) {
  auto* watch = static_cast<SchemaWatch*>(context);
  switch (action) {
    case SQLITE_ALTER_TABLE:
      // Of all its forms only DROP COLUMN names a column.
      if (schema != nullptr && SameName(name, "main")) watch->DropCompiled(column, schema);
      watch->Touched();
      return SQLITE_OK;
    case SQLITE_CREATE_INDEX:
    case SQLITE_DROP_INDEX:
    case SQLITE_DROP_TABLE:
    case SQLITE_DROP_TRIGGER:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_CREATE_VIEW:
    case SQLITE_CREATE_TEMP_VIEW:
      watch->Touched();
      return SQLITE_OK;
    case SQLITE_TRANSACTION:
      // A step's transaction is not its own to end.
      return watch->connection_->migrating ? SQLITE_DENY : SQLITE_OK;
    case SQLITE_PRAGMA:
      // These want the file to themselves, or to be the one that checkpoints.
      for (const char* pragma : {"journal_mode", "locking_mode", "wal_checkpoint"}) {
        if (name != nullptr && SameName(name, pragma)) watch->connection_->checkpoints.Stop();
      }
      return SQLITE_OK;
    case SQLITE_INSERT:
      return watch->IsVoid(name, schema, trigger) ? SQLITE_IGNORE : SQLITE_OK;
    case SQLITE_UPDATE:
      // SQLite cannot leave out a rowid, and must not be told to.
      if (SameName(column, "ROWID")) return SQLITE_OK;
      return watch->IsVoid(name, schema, trigger) ? SQLITE_IGNORE : SQLITE_OK;
    default:
      return SQLITE_OK;
  }
}

// What the user's triggers write to replicated tables arrives by itself from the peer on which the
// statement ran: in statements of merging it is compiled to nothing.
bool SchemaWatch::IsVoid(const char* table, const char* schema, const char* trigger) const {
  if (trigger == nullptr || !(connection_->merging || connection_->migrating) ||
      !SameName(schema, "main"))
    return false;
  const Table* found = connection_->catalog.FindTable(table);
  return found != nullptr && found->active;
}

// Statements are followed from here until triggers are as they should be again, and only then.
void SchemaWatch::Touched() {
  connection_->schema_touched = true;
  if (busy_ || connection_->merging) return;
  connection_->api->trace_v2(connection_->db, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE, Follow,
                             this);
}

int SchemaWatch::Follow(unsigned event, void* context, void* statement, void*) {
  auto* watch = static_cast<SchemaWatch*>(context);
  Connection* connection = watch->connection_;
  if (watch->busy_ || connection->calls > 0 || connection->finalized) return 0;
  watch->busy_ = true;
  if (event == SQLITE_TRACE_STMT) {
    watch->BeforeStatement(static_cast<sqlite3_stmt*>(statement));
  } else {
    watch->AfterStatement();
  }
  watch->busy_ = false;
  return 0;
}

// A column is to be dropped. SQLite would refuse it, for our triggers name the column; they are
// made anew as soon as it is committed. But triggers and views of the user's own it has to look at.
void SchemaWatch::DropCompiled(const char* table, const char* column) {
  const Table* found = connection_->catalog.FindTable(table);
  const bool replicated = connection_->migrating || (found != nullptr && found->active);
  if (busy_ || !replicated) return;
  drops_.push_back({Text(table), Text(column)});
  // In a step our triggers are out of the way.
  if (legacy_ || connection_->migrating || connection_->catalog.Mentions(column)) return;
  const Api* api = connection_->api;
  api->db_config(connection_->db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, -1, &legacy_before_);
  api->db_config(connection_->db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, 1, nullptr);
  legacy_ = true;
}

void SchemaWatch::BeforeStatement(sqlite3_stmt* statement) {
  if (drops_.empty() || !IsAlter(connection_->api->sql(statement))) return;
  int rc = SQLITE_OK;
  for (size_t i = 0; rc == SQLITE_OK && i < drops_.size(); i++) {
    const Drop& drop = drops_[i];
    rc = ParkColumn(connection_, drop.table.c_str(), drop.column.c_str());
    if (rc == SQLITE_OK && legacy_ && connection_->catalog.Mentions(drop.column.c_str())) {
      rc = SQLITE_SCHEMA;  // another process has made a view or trigger since
    }
  }
  drops_.clear();
  connection_->error.Clear();
  // The one way to refuse a statement from here.
  if (rc != SQLITE_OK) connection_->api->interruptx(connection_->db);
}

// What runs within another statement, or within its commit, sees a transaction that is not over.
bool SchemaWatch::IsNested() const {
  const Api* api = connection_->api;
  sqlite3_stmt* other = nullptr;
  while ((other = api->next_stmt(connection_->db, other)) != nullptr) {
    if (api->stmt_busy(other) != 0) return true;
  }
  return false;
}

void SchemaWatch::AfterStatement() {
  const Api* api = connection_->api;
  if (legacy_ && drops_.empty()) {
    api->db_config(connection_->db, SQLITE_DBCONFIG_LEGACY_ALTER_TABLE, legacy_before_, nullptr);
    legacy_ = false;
  }
  if (connection_->InTransaction() || connection_->merging || IsNested()) return;
  if (connection_->schema_touched) Renew();
  if (!connection_->schema_touched) api->trace_v2(connection_->db, 0, nullptr, nullptr);
}

// Without a WAL there is no moment after a commit, but one at which JavaScript can be woken.
int SchemaWatch::BeforeCommit(void* context) {
  Connection* connection = static_cast<SchemaWatch*>(context)->connection_;
  if (connection->schema_touched && connection->bell != nullptr) {
    connection->bell(connection->bell_context);
  }
  return 0;
}

int SchemaWatch::AfterCommit(void* context, sqlite3* db, const char* schema, int frames) {
  auto* watch = static_cast<SchemaWatch*>(context);
  Connection* connection = watch->connection_;
  const bool main = SameName(schema, "main");
  if (connection->schema_touched && connection->calls == 0 && !connection->merging &&
      !connection->finalized && !connection->InTransaction() && main) {
    watch->Renew();
  }
  if (WantsCheckpoint(connection, main, frames)) {
    connection->api->wal_checkpoint_v2(db, schema, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  }
  // Anything else would make the statement fail although it is committed.
  return SQLITE_OK;
}

// What cannot be done now (another process writes) is done by the next maintenance; until then a
// write to a table whose triggers are stale fails. Never within a call of the addon, whose own
// statements are told of here, too: it may be reading what this would load anew.
void SchemaWatch::Renew() {
  connection_->schema_touched = false;
  drops_.clear();
  int rc = connection_->catalog.Refresh(connection_);
  if (rc == SQLITE_OK && connection_->catalog.present()) rc = RenewStaleTables(connection_);
  if (rc != SQLITE_OK) connection_->schema_touched = true;
  connection_->error.Clear();
  // What was parked for want of a column or a table may have its place now.
  if (connection_->bell != nullptr) connection_->bell(connection_->bell_context);
}

}  // namespace mergelite
