#include "patches_table.h"

#include "connection.h"
#include "merge.h"
#include "patch_results.h"
#include "replication.h"

namespace mergelite {
namespace {

constexpr int kPatchedAt = 0, kSequenceId = 1, kPeerId = 2, kFirstColumn = 3;
constexpr int kByPeer = 1, kAfterSequence = 2;
constexpr const char* kSuffix = "_patches";

struct PatchesTable {
  sqlite3_vtab base;
  Connection* connection;
  Text table;
  std::vector<Text> columns;  // the table's own, in declared order
};

// Walks log rows, and within each the patches of one table.
struct Cursor {
  sqlite3_vtab_cursor base;
  Statement rows;
  bool at_end = true;
  int64_t log_id = 0;
  int64_t timestamp = 0;
  int64_t number = 0;  // of the patch within its changeset
  Bytes payload_bytes;
  Payload payload;
  std::vector<const Shape*> shapes;
  std::unique_ptr<PatchReader> reader;
  Patch patch;
};

PatchesTable* TableOf(sqlite3_vtab* table) { return reinterpret_cast<PatchesTable*>(table); }
Cursor* CursorOf(sqlite3_vtab_cursor* cursor) { return reinterpret_cast<Cursor*>(cursor); }

char* Message(Connection* connection) {
  const Error& error = connection->error;
  if (error.hint.empty()) {
    return connection->api->mprintf("%s: %s", error.code, error.message.c_str());
  }
  return connection->api->mprintf("%s: %s. %s", error.code, error.message.c_str(),
                                  error.hint.c_str());
}

// The module's one argument, without the quotes SQL may have put around it.
bool ReadArgument(const char* argument, Text* name) {
  const char quote = *argument;
  const char close = quote == '[' ? ']' : quote;
  if (quote != '"' && quote != '\'' && quote != '`' && quote != '[') {
    *name << argument;
    return !name->empty();
  }
  for (const char* at = argument + 1; *at != 0; at++) {
    if (*at == close && (at[1] != close || quote == '[')) return at[1] == 0 && !name->empty();
    if (*at == close) at++;
    name->Add({reinterpret_cast<const uint8_t*>(at), 1});
  }
  return false;
}

int Declare(Connection* connection, PatchesTable* table) {
  Text sql("CREATE TABLE x (_patchedAt INTEGER, _sequenceId INTEGER, _peerId INTEGER");
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT name, type FROM pragma_table_xinfo(?1, 'main') WHERE hidden = 0"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, table->table.span());
  while ((rc = query.Step()) == SQLITE_ROW) {
    table->columns.push_back(Text(query.ColumnText(0)));
    (sql << ", ").Name(query.ColumnText(0));
  }
  if (rc != SQLITE_OK) return connection->Check(rc);
  // For some plans, as for conditions joined by OR, SQLite leaves out what it has seen: rows need a
  // key that is the same in every scan.
  sql << ", _op HIDDEN, _columns HIDDEN, _patch INTEGER HIDDEN, "
         "PRIMARY KEY (_peerId, _sequenceId, _patch)) WITHOUT ROWID";
  return connection->Check(connection->api->declare_vtab(connection->db, sql.c_str()));
}

void Forget(Connection* connection) {
  // Clocks first: they remember tables by id.
  if (connection->merge != nullptr) {
    connection->merge->clocks.Forget(connection);
    connection->merge->targets.clear();
  }
  connection->catalog.Forget();
  connection->log.Invalidate();
}

int Attach(void* context, int argc, const char* const* argv, sqlite3_vtab** out, char** error,
           bool create) {
  auto* connection = static_cast<Connection*>(context);
  connection->error.Clear();
  auto table = std::make_unique<PatchesTable>();
  table->base = {};
  table->connection = connection;
  int rc = SQLITE_OK;
  if (argc != 4 || !ReadArgument(argv[3], &table->table)) {
    rc = connection->Fail("COMPANION_ARGUMENT", "the module takes the name of one table",
                          "CREATE VIRTUAL TABLE note_patches USING mergelite(note)");
  } else if (!SameName(argv[1], "main")) {
    rc = connection->Fail("CAPTURE_FOREIGN", "only tables of the main database are replicated",
                          "Open the attached file as a database of its own.");
  } else {
    Text expected = table->table.Copy();
    expected << kSuffix;
    if (!SameName(expected.c_str(), argv[2])) {
      Text message("the companion of this table must be named ");
      message.Name(expected.c_str());
      rc = connection->Fail("COMPANION_NAME", message);
    }
  }
  if (rc == SQLITE_OK && create && !connection->companions_aside)
    rc = StartReplication(connection, table->table.c_str());
  if (rc == SQLITE_OK) rc = Declare(connection, table.get());
  if (rc != SQLITE_OK) {
    if (!connection->error.message.empty()) *error = Message(connection);
    // The statement's rows are undone: so is what memory took from them.
    if (create) Forget(connection);
    return rc;
  }
  *out = &table.release()->base;
  return SQLITE_OK;
}

int Create(sqlite3*, void* context, int argc, const char* const* argv, sqlite3_vtab** out,
           char** error) {
  return Attach(context, argc, argv, out, error, true);
}
int Connect(sqlite3*, void* context, int argc, const char* const* argv, sqlite3_vtab** out,
            char** error) {
  return Attach(context, argc, argv, out, error, false);
}

int Disconnect(sqlite3_vtab* table) {
  delete TableOf(table);
  return SQLITE_OK;
}

int Destroy(sqlite3_vtab* base) {
  PatchesTable* table = TableOf(base);
  Connection* connection = table->connection;
  if (connection->companions_aside) return Disconnect(base);
  connection->error.Clear();
  const int rc = StopReplication(connection, table->table.c_str());
  if (rc != SQLITE_OK) {
    base->zErrMsg = Message(connection);
    return rc;
  }
  return Disconnect(base);
}

int BestIndex(sqlite3_vtab*, sqlite3_index_info* info) {
  int peer = -1, sequence = -1;
  for (int i = 0; i < info->nConstraint; i++) {
    const auto& constraint = info->aConstraint[i];
    if (constraint.usable == 0) continue;
    if (constraint.iColumn == kPeerId && constraint.op == SQLITE_INDEX_CONSTRAINT_EQ) peer = i;
    const bool lower = constraint.op == SQLITE_INDEX_CONSTRAINT_GT ||
                       constraint.op == SQLITE_INDEX_CONSTRAINT_GE ||
                       constraint.op == SQLITE_INDEX_CONSTRAINT_EQ;
    if (constraint.iColumn == kSequenceId && lower) sequence = i;
  }
  info->estimatedCost = 1e6;
  info->estimatedRows = 1000000;
  if (peer < 0) return SQLITE_OK;
  // The constraints narrow the range of log rows; SQLite checks them again itself.
  info->aConstraintUsage[peer].argvIndex = 1;
  info->idxNum = kByPeer;
  info->estimatedCost = 1e4;
  if (sequence < 0) return SQLITE_OK;
  info->aConstraintUsage[sequence].argvIndex = 2;
  info->idxNum = kByPeer | kAfterSequence;
  info->estimatedCost = 1e3;
  return SQLITE_OK;
}

int Open(sqlite3_vtab*, sqlite3_vtab_cursor** cursor) {
  auto* made = new Cursor;
  made->base = {};
  *cursor = &made->base;
  return SQLITE_OK;
}
int Close(sqlite3_vtab_cursor* cursor) {
  delete CursorOf(cursor);
  return SQLITE_OK;
}

int Fault(PatchesTable* table, int rc) {
  if (rc != SQLITE_OK) {
    table->connection->api->free(table->base.zErrMsg);
    table->base.zErrMsg = Message(table->connection);
  }
  return rc;
}

// Loads the next log row that has patches of this table's name.
int NextRow(Connection* connection, Cursor* cursor) {
  cursor->reader.reset();
  const int rc = cursor->rows.Step();
  if (rc != SQLITE_ROW) {
    cursor->at_end = true;
    return connection->Check(rc);
  }
  cursor->log_id = cursor->rows.ColumnInteger(0);
  cursor->timestamp = cursor->rows.ColumnInteger(1);
  const uint64_t sequence = SequenceOf(cursor->log_id);
  bool refused;
  const int asked =
      connection->refusals.Any(connection, connection->log.peers().Of(OrdinalOf(cursor->log_id)),
                               sequence, sequence, &refused);
  if (asked != SQLITE_OK || refused) return asked;
  cursor->payload_bytes.Clear();
  cursor->payload_bytes.Append(cursor->rows.ColumnBytes(2));
  if (DecodePayload(cursor->payload_bytes.span(), &cursor->payload) != DecodeError::kNone) {
    return connection->Fail("FILE_DAMAGED", "a changeset in the log does not decode",
                            "Run `PRAGMA integrity_check`; restore the file from a backup.");
  }
  cursor->shapes.clear();
  for (uint64_t hash : cursor->payload.shape_hashes) {
    const Shape* shape;
    const int found = connection->catalog.FindShape(connection, hash, &shape);
    if (found != SQLITE_OK) return found;
    if (shape == nullptr) return SQLITE_OK;
    cursor->shapes.push_back(shape);
  }
  cursor->reader = std::make_unique<PatchReader>(cursor->payload, cursor->shapes.data());
  cursor->number = 0;
  return SQLITE_OK;
}

int Next(sqlite3_vtab_cursor* base) {
  Cursor* cursor = CursorOf(base);
  PatchesTable* table = TableOf(base->pVtab);
  for (;;) {
    while (cursor->reader != nullptr && cursor->reader->Next(&cursor->patch)) {
      cursor->number++;
      const char* name = cursor->patch.shape->table.c_str();
      if (SameName(name, table->table.c_str())) return SQLITE_OK;
      const Table* found = table->connection->catalog.FindReplicated(name);
      if (found != nullptr && SameName(found->name.c_str(), table->table.c_str())) return SQLITE_OK;
    }
    const int rc = NextRow(table->connection, cursor);
    if (rc != SQLITE_OK || cursor->at_end) return Fault(table, rc);
  }
}

int Filter(sqlite3_vtab_cursor* base, int index, const char*, int, sqlite3_value** argv) {
  Cursor* cursor = CursorOf(base);
  PatchesTable* table = TableOf(base->pVtab);
  Connection* connection = table->connection;
  connection->error.Clear();
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = connection->log.Refresh(connection);
  if (rc != SQLITE_OK) return Fault(table, rc);
  int64_t first = 0, last = INT64_MAX;
  cursor->at_end = true;
  if ((index & kByPeer) != 0) {
    const int64_t peer = connection->api->value_int64(argv[0]);
    Origin* origin = peer > 0 ? connection->log.FindOrigin(static_cast<uint64_t>(peer)) : nullptr;
    if (origin == nullptr) return SQLITE_OK;
    first = LogBase(origin->ordinal);
    last = first + static_cast<int64_t>(kSequenceMax);
    int64_t sequence = 0;
    if ((index & kAfterSequence) != 0) sequence = connection->api->value_int64(argv[1]);
    if (sequence > static_cast<int64_t>(kSequenceMax)) return SQLITE_OK;
    if (sequence > 0) first += sequence;
  }
  rc = connection->Check(cursor->rows.Prepare(
      connection->api, connection->db,
      "SELECT id, timestamp, payload FROM main._mergelite_log WHERE id BETWEEN ?1 AND ?2 ORDER BY "
      "id"));
  if (rc != SQLITE_OK) return Fault(table, rc);
  cursor->rows.Integer(1, first);
  cursor->rows.Integer(2, last);
  cursor->at_end = false;
  cursor->reader.reset();
  return Next(base);
}

int AtEnd(sqlite3_vtab_cursor* cursor) { return CursorOf(cursor)->at_end ? 1 : 0; }

int Column(sqlite3_vtab_cursor* base, sqlite3_context* context, int index) {
  const Cursor& cursor = *CursorOf(base);
  const PatchesTable& table = *TableOf(base->pVtab);
  Connection* connection = table.connection;
  const Api* api = connection->api;
  const Patch& patch = cursor.patch;
  const auto own = static_cast<size_t>(index - kFirstColumn);
  if (index == kPatchedAt) {
    api->result_int64(context, cursor.timestamp);
  } else if (index == kSequenceId) {
    api->result_int64(context, static_cast<int64_t>(SequenceOf(cursor.log_id)));
  } else if (index == kPeerId) {
    const uint64_t peer = connection->log.peers().Of(OrdinalOf(cursor.log_id));
    api->result_int64(context, static_cast<int64_t>(peer));
  } else if (own == table.columns.size()) {
    const char* names[] = {"", "insert", "update", "delete"};
    api->result_text(context, names[static_cast<int>(patch.operation)], -1, SQLITE_STATIC);
  } else if (own == table.columns.size() + 2) {
    api->result_int64(context, cursor.number);
  } else if (own > table.columns.size()) {
    ResultColumnNames(api, context, patch);
  } else {
    ResultColumn(api, context, patch, connection->catalog.FindReplicated(table.table.c_str()),
                 table.columns[own].c_str());
  }
  return SQLITE_OK;
}

int Rename(sqlite3_vtab* base, const char*) {
  base->zErrMsg = TableOf(base)->connection->api->mprintf(
      "COMPANION_NAME: a companion keeps the name of its table");
  return SQLITE_ERROR;
}

// CREATE VIRTUAL TABLE and DROP TABLE write rows of ours: when their transaction ends, what memory
// took from them becomes true or has to go.
int Begin(sqlite3_vtab*) { return SQLITE_OK; }
int Commit(sqlite3_vtab* base) {
  Connection* connection = TableOf(base)->connection;
  if (connection->log.loaded()) connection->log.Committed(connection);
  if (connection->bell != nullptr) connection->bell(connection->bell_context);
  return SQLITE_OK;
}
int Rollback(sqlite3_vtab* base) {
  Forget(TableOf(base)->connection);
  return SQLITE_OK;
}
int NoSavepoint(sqlite3_vtab*, int) { return SQLITE_OK; }
int RollbackTo(sqlite3_vtab* base, int) { return Rollback(base); }

// Shadow tables of a virtual table named x are named x_y; none of ours are.
constexpr sqlite3_module MakeModule() {
  sqlite3_module module{};
  module.iVersion = 2;
  module.xCreate = Create;
  module.xConnect = Connect;
  module.xBestIndex = BestIndex;
  module.xDisconnect = Disconnect;
  module.xDestroy = Destroy;
  module.xOpen = Open;
  module.xClose = Close;
  module.xFilter = Filter;
  module.xNext = Next;
  module.xEof = AtEnd;
  module.xColumn = Column;
  module.xBegin = Begin;
  module.xCommit = Commit;
  module.xRollback = Rollback;
  module.xRename = Rename;
  module.xSavepoint = NoSavepoint;
  module.xRelease = NoSavepoint;
  module.xRollbackTo = RollbackTo;
  return module;
}
constexpr sqlite3_module kModule = MakeModule();

}  // namespace

int RegisterPatchesTable(Connection* connection, bool there) {
  return connection->api->create_module_v2(connection->db, "mergelite", there ? &kModule : nullptr,
                                           connection, nullptr);
}

}  // namespace mergelite
