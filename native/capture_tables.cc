// The virtual tables of capture: `mergelite_capture_N`, table-valued functions for wide tables,
// and `mergelite_transaction`, through which SQLite tells how the transaction goes.
#include "connection.h"

namespace mergelite {
namespace {

struct CaptureTable {
  sqlite3_vtab base;
  Connection* connection;
  // Of all calls, also nested ones: there is nothing in it that is theirs. So a call allocates
  // nothing.
  sqlite3_vtab_cursor cursor;
};

int ConnectWith(sqlite3* db, void* context, const char* declaration, sqlite3_vtab** out) {
  auto* connection = static_cast<Connection*>(context);
  const int rc = connection->api->declare_vtab(db, declaration);
  if (rc != SQLITE_OK) return rc;
  connection->api->vtab_config(db, SQLITE_VTAB_INNOCUOUS);
  auto* table = new CaptureTable{};
  table->connection = connection;
  *out = &table->base;
  return SQLITE_OK;
}

Connection* ConnectionOf(sqlite3_vtab* table) {
  return reinterpret_cast<CaptureTable*>(table)->connection;
}

int Report(sqlite3_vtab* table, int rc) {
  Connection* connection = ConnectionOf(table);
  if (rc == SQLITE_OK || connection->error.message.empty()) return rc;
  connection->api->free(table->zErrMsg);
  table->zErrMsg =
      connection->api->mprintf("%s: %s", connection->error.code, connection->error.message.c_str());
  return rc;
}

int Disconnect(sqlite3_vtab* table) {
  delete reinterpret_cast<CaptureTable*>(table);
  return SQLITE_OK;
}

int Open(sqlite3_vtab* table, sqlite3_vtab_cursor** cursor) {
  *cursor = &reinterpret_cast<CaptureTable*>(table)->cursor;
  return SQLITE_OK;
}
int Close(sqlite3_vtab_cursor*) { return SQLITE_OK; }
int Next(sqlite3_vtab_cursor*) { return SQLITE_OK; }
int AtEnd(sqlite3_vtab_cursor*) { return 1; }
int Column(sqlite3_vtab_cursor*, sqlite3_context*, int) { return SQLITE_OK; }
int Rowid(sqlite3_vtab_cursor*, sqlite3_int64* rowid) {
  *rowid = 0;
  return SQLITE_OK;
}
int NoRows(sqlite3_vtab*, sqlite3_index_info* info) {
  info->estimatedCost = 1;
  info->estimatedRows = 1;
  return SQLITE_OK;
}
int NoFilter(sqlite3_vtab_cursor*, int, const char*, int, sqlite3_value**) { return SQLITE_OK; }

// --- mergelite_capture_N: N hidden columns are the parameters of a table-valued function. The work
// is done in xFilter.

int CaptureConnect(sqlite3* db, void* context, int, const char* const* argv, sqlite3_vtab** out,
                   char**) {
  const char* digits = argv[0] + strlen("mergelite_capture_");
  uint64_t width = 0;
  for (; *digits != 0; digits++) width = width * 10 + static_cast<uint64_t>(*digits - '0');
  Text declaration("CREATE TABLE x (done");
  for (uint64_t i = 0; i < width; i++) declaration << ", p" << i << " HIDDEN";
  declaration << ")";
  return ConnectWith(db, context, declaration.c_str(), out);
}

int CaptureBestIndex(sqlite3_vtab*, sqlite3_index_info* info) {
  for (int i = 0; i < info->nConstraint; i++) {
    const auto& constraint = info->aConstraint[i];
    if (constraint.op != SQLITE_INDEX_CONSTRAINT_EQ || constraint.iColumn < 1) continue;
    if (constraint.usable == 0) return SQLITE_CONSTRAINT;
    info->aConstraintUsage[i].argvIndex = constraint.iColumn;
    info->aConstraintUsage[i].omit = 1;
  }
  info->estimatedCost = 1;
  info->estimatedRows = 1;
  info->idxFlags = SQLITE_INDEX_SCAN_UNIQUE;
  return SQLITE_OK;
}

int CaptureFilter(sqlite3_vtab_cursor* cursor, int, const char*, int argc, sqlite3_value** argv) {
  Connection* connection = ConnectionOf(cursor->pVtab);
  if (connection->merging) return SQLITE_OK;
  const int rc = connection->capture.Record(connection, argc, argv);
  // Here SQLite need not undo the statement's rows when it fails.
  if (rc != SQLITE_OK) connection->capture.Poison();
  return Report(cursor->pVtab, rc);
}

// --- mergelite_transaction

int TransactionConnect(sqlite3* db, void* context, int, const char* const*, sqlite3_vtab** out,
                       char**) {
  return ConnectWith(db, context, "CREATE TABLE x (x)", out);
}
int TransactionUpdate(sqlite3_vtab*, int, sqlite3_value**, sqlite3_int64* rowid) {
  *rowid = 1;
  return SQLITE_OK;
}
int TransactionBegin(sqlite3_vtab* table) {
  ConnectionOf(table)->capture.Begin();
  return SQLITE_OK;
}
int TransactionSync(sqlite3_vtab* table) {
  Connection* connection = ConnectionOf(table);
  connection->error.Clear();
  return Report(table, connection->capture.Sync(connection));
}
int TransactionCommit(sqlite3_vtab* table) {
  Connection* connection = ConnectionOf(table);
  connection->capture.Commit(connection);
  return SQLITE_OK;
}
int TransactionRollback(sqlite3_vtab* table) {
  ConnectionOf(table)->capture.Rollback();
  return SQLITE_OK;
}
int TransactionSavepoint(sqlite3_vtab* table, int level) {
  ConnectionOf(table)->capture.Savepoint(level);
  return SQLITE_OK;
}
int TransactionRelease(sqlite3_vtab* table, int level) {
  ConnectionOf(table)->capture.Release(level);
  return SQLITE_OK;
}
int TransactionRollbackTo(sqlite3_vtab* table, int level) {
  ConnectionOf(table)->capture.RollbackTo(level);
  return SQLITE_OK;
}

constexpr sqlite3_module MakeCaptureModule() {
  sqlite3_module module{};
  module.iVersion = 3;
  module.xConnect = CaptureConnect;  // without xCreate a module is eponymous only
  module.xBestIndex = CaptureBestIndex;
  module.xDisconnect = Disconnect;
  module.xDestroy = Disconnect;
  module.xOpen = Open;
  module.xClose = Close;
  module.xFilter = CaptureFilter;
  module.xNext = Next;
  module.xEof = AtEnd;
  module.xColumn = Column;
  module.xRowid = Rowid;
  return module;
}

constexpr sqlite3_module MakeTransactionModule() {
  sqlite3_module module = MakeCaptureModule();
  module.xConnect = TransactionConnect;
  module.xBestIndex = NoRows;
  module.xFilter = NoFilter;
  module.xUpdate = TransactionUpdate;
  module.xBegin = TransactionBegin;
  module.xSync = TransactionSync;
  module.xCommit = TransactionCommit;
  module.xRollback = TransactionRollback;
  module.xSavepoint = TransactionSavepoint;
  module.xRelease = TransactionRelease;
  module.xRollbackTo = TransactionRollbackTo;
  return module;
}

constexpr sqlite3_module kCaptureModule = MakeCaptureModule();
constexpr sqlite3_module kTransactionModule = MakeTransactionModule();

}  // namespace

int RegisterCaptureTables(Connection* connection, bool there) {
  for (int width : kCaptureWidths) {
    Text name("mergelite_capture_");
    name << static_cast<uint64_t>(width);
    const int rc = connection->api->create_module_v2(
        connection->db, name.c_str(), there ? &kCaptureModule : nullptr, connection, nullptr);
    if (rc != SQLITE_OK) return rc;
  }
  return connection->api->create_module_v2(connection->db, "mergelite_transaction",
                                           there ? &kTransactionModule : nullptr, connection,
                                           nullptr);
}

}  // namespace mergelite
