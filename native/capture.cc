#include "capture.h"

#include <cstdlib>

#include "connection.h"

namespace mergelite {
namespace {

// Memory a transaction may leave behind for the next one.
constexpr size_t kBufferBytesKept = size_t{4} << 20;

// False when there was no memory to convert it.
bool ContentOf(const Api* api, sqlite3_value* value, bool utf16, Span* content) {
  // The size first: it is what converts a UTF-16 text, and moves it.
  if (utf16 && api->value_type(value) == SQLITE_TEXT && api->value_text(value) == nullptr) {
    return false;
  }
  content->size = static_cast<size_t>(api->value_bytes(value));
  content->data = static_cast<const uint8_t*>(api->value_blob(value));
  return content->data != nullptr || content->size == 0;
}

// Exactly equal, whatever collation or affinity the column has: 'a' and 'A' differ, 1 and 1.0 too.
// What cannot be compared for want of memory counts as different.
bool Same(const Api* api, sqlite3_value* a, sqlite3_value* b, bool utf16) {
  const int type = api->value_type(a);
  if (type != api->value_type(b)) return false;
  switch (type) {
    case SQLITE_INTEGER:
      return api->value_int64(a) == api->value_int64(b);
    case SQLITE_FLOAT: {
      const double x = api->value_double(a), y = api->value_double(b);
      return memcmp(&x, &y, sizeof x) == 0;
    }
    case SQLITE_NULL:
      return true;
    default: {
      Span left, right;
      return ContentOf(api, a, utf16, &left) && ContentOf(api, b, utf16, &right) && left == right;
    }
  }
}

}  // namespace

int Capture::Record(Connection* connection, int argc, sqlite3_value** argv) {
  if (argc < 2) return connection->Fail("CAPTURE_MISUSE", "a capture call without values");
  CaptureOp op;
  Table* table;
  if (!enlisted_) {
    const int rc = Enlist(connection);
    if (rc != SQLITE_OK) return rc;
  }
  int rc = Resolve(connection, argv[0], &op, &table);
  if (rc != SQLITE_OK) return rc;
  argc--;
  argv++;
  switch (op) {
    case CaptureOp::kInsert:
      rc = RecordInsert(connection, table, argc, argv);
      break;
    case CaptureOp::kColumns:
      rc = RecordColumns(connection, table, argc, argv);
      break;
    case CaptureOp::kKey:
      rc = RecordKey(connection, table, argc, argv);
      break;
    case CaptureOp::kDelete:
      rc = RecordDelete(connection, table, argc, argv);
      break;
    case CaptureOp::kCandidate:
      rc = RecordCandidate(connection, table, argc, argv);
      break;
    case CaptureOp::kBefore:
      return RecordBefore(connection, table, argc, argv);
    default:
      rc = connection->Fail("CAPTURE_MISUSE", "a capture call of an unknown kind");
  }
  // Of rows with old values, no part may end between what is noted of one and its patches: there it
  // ends before the next row.
  const bool full = body_.size() >= kPartBytesMax && !table->old_values;
  return rc == SQLITE_OK && full ? Spill(connection) : rc;
}

// A nested write to a virtual table makes SQLite tell that table of this transaction's end.
int Capture::Enlist(Connection* connection) {
  const bool first = !enlist_;
  int rc = connection->Prepare(&enlist_, "INSERT INTO mergelite_transaction (x) VALUES (0)");
  if (rc != SQLITE_OK) return rc;
  rc = connection->Check(enlist_.Run());
  if (rc != SQLITE_OK) return rc;
  if (!enlisted_) {
    return connection->Fail("CAPTURE_MISUSE", "a capture function was called outside a write",
                            "Only the triggers that mergelite makes call these functions.");
  }
  const int reprepared = enlist_.Reprepared();
  const Catalog& catalog = connection->catalog;
  if (first || reprepared != enlist_reprepared_ || connection->schema_touched ||
      !catalog.present() || catalog.schema_version() < 0) {
    enlist_reprepared_ = reprepared;
    return connection->catalog.Refresh(connection);
  }
  return SQLITE_OK;
}

int Capture::Resolve(Connection* connection, sqlite3_value* literal, CaptureOp* op, Table** table) {
  const int64_t bits = connection->api->value_int64(literal);
  *op = static_cast<CaptureOp>(bits & ((1 << kCaptureOpBits) - 1));
  Catalog& catalog = connection->catalog;
  Table* found = catalog.TableByShapeId(bits >> kCaptureOpBits & kShapeIdMax);
  if (found == nullptr || connection->log.tag() == 0) {
    // Written by another connection since; or this is the first capture here.
    catalog.Invalidate();
    int rc = catalog.Refresh(connection);
    if (rc == SQLITE_OK && catalog.present()) rc = connection->log.Refresh(connection);
    if (rc != SQLITE_OK) return rc;
    found = catalog.TableByShapeId(bits >> kCaptureOpBits & kShapeIdMax);
  }
  if (found == nullptr || bits >> (kShapeIdBits + kCaptureOpBits) != connection->log.tag()) {
    return connection->Fail(
        "CAPTURE_FOREIGN", "this table's triggers belong to another database file",
        "Write a replicated table through a connection whose main database holds it, not ATTACH.");
  }
  const int rc = catalog.Check(connection, found);
  if (rc != SQLITE_OK) return rc;
  if (found->stale) {
    Text message("the columns of table ");
    message.Name(found->name.c_str()) << " have changed since its triggers were made";
    return connection->Fail("SCHEMA_STALE", message,
                            "Commit the schema change alone; or attach once, which "
                            "renews the triggers.");
  }
  *table = found;
  return SQLITE_OK;
}

void Capture::AppendHead(Table* table, Operation operation) {
  if (table->capture_epoch != epoch_) {
    table->capture_epoch = epoch_;
    table->capture_index = static_cast<uint32_t>(tables_.size());
    tables_.push_back(table);
    hashes_.push_back(table->shape->hash);
  }
  last_update_.table = nullptr;
  if (table->has_user_triggers) settle_rows_ = true;
  body_.Varint(PatchHead(table->capture_index, operation));
  patch_count_++;
}

int Capture::AppendKey(Connection* connection, const Table& table, sqlite3_value** values) {
  for (size_t i = 0; i < table.shape->keys.size(); i++) {
    if (connection->api->value_type(values[i]) == SQLITE_NULL) {
      Text message("key column ");
      message.Name(table.shape->keys[i].name.c_str()) << " of table ";
      message.Name(table.name.c_str()) << " is NULL";
      return connection->Fail("KEY_NULL", message,
                              "A replicated row is found by its key on every peer: give it one, "
                              "and declare the column NOT NULL.");
    }
    if (!AppendSqlValue(connection->api, &body_, values[i], connection->utf16)) {
      return connection->Check(SQLITE_NOMEM);
    }
  }
  return SQLITE_OK;
}

int Capture::RecordInsert(Connection* connection, Table* table, int argc, sqlite3_value** argv) {
  const size_t keys = table->shape->keys.size(), columns = table->shape->columns.size();
  if (static_cast<size_t>(argc) != keys + columns) {
    return connection->Fail("CAPTURE_MISUSE", "a capture call with the wrong number of values");
  }
  const size_t start = body_.size();
  AppendHead(table, Operation::kInsert);
  const size_t key = body_.size();
  int rc = AppendKey(connection, *table, argv);
  if (rc == SQLITE_OK && table->old_values) {
    old_.Inserted(table, {body_.data() + key, body_.size() - key});
  }
  for (size_t i = keys; rc == SQLITE_OK && i < keys + columns; i++) {
    if (!AppendSqlValue(connection->api, &body_, argv[i], connection->utf16)) {
      rc = connection->Check(SQLITE_NOMEM);
    }
  }
  if (rc != SQLITE_OK) {
    body_.Truncate(start);
    patch_count_--;
  }
  return rc;
}

// key... of a row that an INSERT or a DELETE is about to touch; OLD key..., NEW key... of an
// UPDATE.
int Capture::RecordBefore(Connection* connection, Table* table, int argc, sqlite3_value** argv) {
  const int keys = static_cast<int>(table->shape->keys.size());
  if (argc != keys && argc != 2 * keys) {
    return connection->Fail("CAPTURE_MISUSE", "a capture call with the wrong number of values");
  }
  int rc = SQLITE_OK;
  if (!body_.empty() && body_.size() + old_.part_bytes() >= kPartBytesMax) rc = Spill(connection);
  bool moves = argc == keys;
  for (int i = 0; i < keys && argc > keys; i++) {
    moves = moves || !Same(connection->api, argv[i], argv[keys + i], connection->utf16);
  }
  if (rc == SQLITE_OK) rc = NoteOld(connection, table, argv, moves);
  if (rc != SQLITE_OK || argc == keys || !moves) return rc;
  return NoteOld(connection, table, argv + keys, true);
}

int Capture::NoteOld(Connection* connection, Table* table, sqlite3_value** key, bool may_go) {
  key_.Clear();
  for (size_t i = 0; i < table->shape->keys.size(); i++) {
    // No replicated row has such a key; or SQLite is yet to choose one.
    if (connection->api->value_type(key[i]) == SQLITE_NULL) return SQLITE_OK;
    if (!AppendSqlValue(connection->api, &key_, key[i], connection->utf16)) {
      return connection->Check(SQLITE_NOMEM);
    }
  }
  return old_.Note(connection, table, key_.span(), may_go);
}

int Capture::RecordDelete(Connection* connection, Table* table, int argc, sqlite3_value** argv) {
  if (static_cast<size_t>(argc) != table->shape->keys.size()) {
    return connection->Fail("CAPTURE_MISUSE", "a capture call with the wrong number of values");
  }
  for (int i = 0; i < argc; i++) {
    // A row from before replication may have no key; it was never replicated.
    if (connection->api->value_type(argv[i]) == SQLITE_NULL) return SQLITE_OK;
  }
  AppendHead(table, Operation::kDelete);
  return AppendKey(connection, *table, argv);
}

// key..., first column, then OLD and NEW of the columns of a group from there.
int Capture::RecordColumns(Connection* connection, Table* table, int argc, sqlite3_value** argv) {
  const Api* api = connection->api;
  const size_t keys = table->shape->keys.size();
  const int first = api->value_int(argv[keys]);
  sqlite3_value** values = argv + keys + 1;
  const int count = (argc - static_cast<int>(keys) - 1) / 2;
  if (first < 0 || static_cast<size_t>(first + count) > table->shape->columns.size()) {
    return connection->Fail("CAPTURE_MISUSE", "a capture call beyond the last column");
  }
  size_t bitmap = 0;
  for (int i = 0; i < count; i++) {
    // With triggers of the user's, an update that changes nothing may still undo what one wrote.
    const bool same = Same(api, values[2 * i], values[2 * i + 1], connection->utf16);
    if (same && !table->has_user_triggers) continue;
    if (bitmap == 0) {
      const LastUpdate last = last_update_;
      const size_t start = body_.size();
      AppendHead(table, Operation::kUpdate);
      const int rc = AppendKey(connection, *table, argv);
      if (rc != SQLITE_OK) return rc;
      const size_t key_end = body_.size();
      last_update_ = last;
      if (last.table == table && last.highest < first && ExtendsLastUpdate(start, key_end)) {
        body_.Truncate(start);
        patch_count_--;
      } else {
        const size_t bytes = table->shape->bitmap_bytes();
        memset(body_.Reserve(bytes), 0, bytes);
        body_.Advance(bytes);
        last_update_ = {table, start, key_end, -1};
      }
      bitmap = last_update_.key_end;
    }
    const int column = first + i;
    if (!AppendSqlValue(api, &body_, values[2 * i + 1], connection->utf16)) {
      return connection->Check(SQLITE_NOMEM);
    }
    body_.data()[bitmap + static_cast<size_t>(column) / 8] |=
        static_cast<uint8_t>(1u << (column % 8));
    last_update_.highest = column;
  }
  return SQLITE_OK;
}

bool Capture::ExtendsLastUpdate(size_t start, size_t key_end) const {
  const size_t size = key_end - start;
  return last_update_.key_end - last_update_.start == size &&
         memcmp(body_.data() + last_update_.start, body_.data() + start, size) == 0;
}

// OLD key..., NEW key..., NEW columns...
int Capture::RecordKey(Connection* connection, Table* table, int argc, sqlite3_value** argv) {
  const int keys = static_cast<int>(table->shape->keys.size());
  bool same = true;
  for (int i = 0; i < keys; i++) {
    same = same && Same(connection->api, argv[i], argv[keys + i], connection->utf16);
  }
  if (same) return SQLITE_OK;
  const int rc = RecordDelete(connection, table, keys, argv);
  if (rc != SQLITE_OK) return rc;
  return RecordInsert(connection, table, argc - keys, argv + keys);
}

// The key of a row that REPLACE may delete through a UNIQUE index, without firing DELETE triggers.
int Capture::RecordCandidate(Connection* connection, Table* table, int argc, sqlite3_value** argv) {
  if (static_cast<size_t>(argc) != table->shape->keys.size()) {
    return connection->Fail("CAPTURE_MISUSE", "a capture call with the wrong number of values");
  }
  const size_t start = candidates_.size();
  candidates_.Varint(static_cast<uint64_t>(table->shape_id));
  for (int i = 0; i < argc; i++) {
    if (AppendSqlValue(connection->api, &candidates_, argv[i], connection->utf16)) continue;
    candidates_.Truncate(start);
    return connection->Check(SQLITE_NOMEM);
  }
  return table->old_values ? NoteOld(connection, table, argv, true) : SQLITE_OK;
}

void Capture::Begin() {
  Reset();
  enlisted_ = true;
}

void Capture::Rollback() {
  Reset();
  enlisted_ = false;
}

void Capture::Commit(Connection* connection) {
  if (written_) {
    Log& log = connection->log;
    log.self()->held = log.self()->merged = first_sequence_ + parts_;
    log.Observe(timestamp_);
    if (log.self()->timestamp < timestamp_) log.self()->timestamp = timestamp_;
    log.Committed(connection);
    connection->counters.local_commits++;
    connection->counters.local_patches += total_patches_;
    if (connection->bell != nullptr) connection->bell(connection->bell_context);
  }
  Reset();
  enlisted_ = false;
}

void Capture::StartPart() {
  tables_.clear();
  hashes_.clear();
  epoch_++;
  patch_count_ = 0;
  last_update_.table = nullptr;
}

void Capture::Reset() {
  body_.ClearAndTrim(kBufferBytesKept);
  candidates_.ClearAndTrim(kBufferBytesKept);
  old_.Clear();
  marks_.clear();
  retained_.clear();
  StartPart();
  total_patches_ = 0;
  parts_ = 0;
  first_sequence_ = 0;
  poisoned_ = written_ = settle_rows_ = false;
}

void Capture::Finalize() {
  enlist_.Finalize();
  write_old_.Finalize();
}

}  // namespace mergelite
