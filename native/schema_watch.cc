#include "schema_watch.h"

#include "connection.h"
#include "replication.h"

namespace mergelite {

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
    case SQLITE_CREATE_INDEX:
    case SQLITE_DROP_INDEX:
    case SQLITE_DROP_TABLE:
    case SQLITE_DROP_TRIGGER:
    case SQLITE_CREATE_TRIGGER:
      watch->connection_->schema_touched = true;
      return SQLITE_OK;
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
  if (trigger == nullptr || !connection_->merging || !SameName(schema, "main")) return false;
  const Table* found = connection_->catalog.FindTable(table);
  return found != nullptr && found->active;
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
  if (connection->schema_touched && !connection->merging && !connection->finalized &&
      !connection->InTransaction() && main) {
    watch->Renew();
  }
  const bool now =
      main ? connection->checkpoints.AfterCommit(frames) : connection->checkpoints.wanted(frames);
  if (now) {
    connection->api->wal_checkpoint_v2(db, schema, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  }
  // Anything else would make the statement fail although it is committed.
  return SQLITE_OK;
}

// What cannot be done now (another process writes) is done by the next maintenance; until then a
// write to a table whose triggers are stale fails.
void SchemaWatch::Renew() {
  connection_->schema_touched = false;
  int rc = connection_->catalog.Refresh(connection_);
  if (rc == SQLITE_OK && connection_->catalog.present()) rc = RenewStaleTables(connection_);
  if (rc != SQLITE_OK) connection_->schema_touched = true;
  connection_->error.Clear();
  // What was parked for want of a column or a table may have its place now.
  if (connection_->bell != nullptr) connection_->bell(connection_->bell_context);
}

}  // namespace mergelite
