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
  if (query.Step() == SQLITE_ROW) {
    connection->checkpoints.Start(connection, static_cast<int>(query.ColumnInteger(0)));
  }
  query.Finalize();
  api->wal_hook(db, AfterCommit, this);
  return api->set_authorizer(db, Authorize, this);
}

int SchemaWatch::Authorize(void* context, int action, const char* name, const char*, const char*,
                           const char*) {
  switch (action) {
    case SQLITE_ALTER_TABLE:
    case SQLITE_CREATE_INDEX:
    case SQLITE_DROP_INDEX:
    case SQLITE_DROP_TABLE:
    case SQLITE_DROP_TRIGGER:
    case SQLITE_CREATE_TRIGGER:
      static_cast<SchemaWatch*>(context)->touched_ = true;
      break;
    case SQLITE_PRAGMA:
      // These want the file to themselves, or to be the one that checkpoints.
      for (const char* pragma : {"journal_mode", "locking_mode", "wal_checkpoint"}) {
        if (name == nullptr || !SameName(name, pragma)) continue;
        static_cast<SchemaWatch*>(context)->connection_->checkpoints.Stop();
      }
      break;
    default:
      break;
  }
  return SQLITE_OK;
}

int SchemaWatch::AfterCommit(void* context, sqlite3* db, const char* schema, int frames) {
  auto* watch = static_cast<SchemaWatch*>(context);
  Connection* connection = watch->connection_;
  const bool main = SameName(schema, "main");
  if (watch->touched_ && !connection->merging && !connection->finalized &&
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
  touched_ = false;
  int rc = connection_->catalog.Refresh(connection_);
  if (rc == SQLITE_OK && connection_->catalog.present()) rc = RenewStaleTables(connection_);
  if (rc != SQLITE_OK) touched_ = true;
  connection_->error.Clear();
}

}  // namespace mergelite
