// How a transaction's buffer becomes log rows: the part of Capture that runs when SQLite is about
// to commit, or when the buffer has grown to a part's size.
#include <algorithm>

#include "connection.h"
#include "table_sql.h"

namespace mergelite {

int Capture::Sync(Connection* connection) {
  if (poisoned_) {
    return connection->Fail("CAPTURE_FAILED",
                            "a change of this transaction could not be recorded, so it must not "
                            "be committed",
                            "Roll back; the statement's own error told why.");
  }
  if (body_.empty() && candidates_.empty() && parts_ == 0) return SQLITE_OK;
  int rc = Settle(connection);
  if (rc != SQLITE_OK || (body_.empty() && parts_ == 0)) return rc;
  rc = WritePart(connection, false);
  if (rc != SQLITE_OK) return rc;
  written_ = true;
  return CheckStale(connection);
}

int Capture::Position(Connection* connection) {
  if (first_sequence_ != 0) return SQLITE_OK;
  Log& log = connection->log;
  const int rc = log.Refresh(connection);
  if (rc != SQLITE_OK) return rc;
  first_sequence_ = log.self()->held + 1;
  timestamp_ = Tick(log.newest_timestamp(), connection->NowMs());
  return SQLITE_OK;
}

int Capture::WritePart(Connection* connection, bool continues) {
  int rc = Position(connection);
  if (rc != SQLITE_OK) return rc;
  const Api* api = connection->api;
  payload_.Clear();
  EncodePayload({continues ? kFlagContinues : uint8_t{0}, hashes_.data(), hashes_.size(),
                 patch_count_, body_.span()},
                &payload_);
  const sqlite3_int64 rowid = api->last_insert_rowid(connection->db);
  rc = connection->log.Write(connection, first_sequence_ + parts_, timestamp_, payload_.span(),
                             written_);
  if (rc == SQLITE_OK && old_.count() > 0) rc = WriteOld(connection);
  api->set_last_insert_rowid(connection->db, rowid);
  if (rc == SQLITE_OK && !written_) total_patches_ += patch_count_;
  payload_.ClearAndTrim(kPartBytesMax);
  return rc;
}

// Beside the part, under its number.
int Capture::WriteOld(Connection* connection) {
  old_.Encode(Patches(), tables_, &payload_);
  if (payload_.empty()) return SQLITE_OK;
  int rc = connection->Prepare(&write_old_,
                               "INSERT OR REPLACE INTO main._mergelite_old (id, payload) VALUES "
                               "(?1, ?2)");
  if (rc != SQLITE_OK) return rc;
  const Origin* self = connection->log.self();
  write_old_.Integer(1, LogBase(self->ordinal) + static_cast<int64_t>(first_sequence_ + parts_));
  write_old_.Bytes(2, payload_.span());
  return connection->Check(write_old_.Run());
}

Payload Capture::Patches() const {
  Payload payload;
  payload.shape_hashes = hashes_;
  payload.patch_count = patch_count_;
  payload.patches = body_.span();
  return payload;
}

// A schema change inside this very transaction shows as a recompiled statement, or, before there
// was one, in what the authorizer has seen: patches of a table whose columns changed under its
// triggers would miss values.
int Capture::CheckStale(Connection* connection) {
  const int reprepared = connection->log.WriteReprepared();
  if (reprepared == write_reprepared_ && !connection->schema_touched) return SQLITE_OK;
  write_reprepared_ = reprepared;
  const int rc = connection->catalog.Refresh(connection);
  if (rc != SQLITE_OK) return rc;
  for (Table* table : tables_) {
    // Its replication began after a savepoint that was returned to: it has no patches any more.
    if (!table->active) continue;
    const int checked = connection->catalog.Check(connection, table);
    if (checked != SQLITE_OK) return checked;
    if (!table->stale) continue;
    Text message("table ");
    message.Name(table->name.c_str()) << " was altered and written in one transaction";
    return connection->Fail("SCHEMA_STALE", message, "Commit the ALTER TABLE first, then write.");
  }
  return SQLITE_OK;
}

// Writes what there is as a part of the transaction, and keeps in memory only what an open
// savepoint may still return to.
int Capture::Spill(Connection* connection) {
  int rc = SettleTouched(connection, true);
  if (rc == SQLITE_OK) rc = WritePart(connection, true);
  if (rc != SQLITE_OK) return rc;
  size_t needed = 0, needed_old = 0;
  for (const Mark& mark : marks_) {
    if (mark.part != parts_) continue;
    needed = std::max(needed, mark.size);
    needed_old = std::max(needed_old, mark.old_count);
  }
  if (needed + needed_old > 0) {
    Retained retained;
    retained.part = parts_;
    retained.body.Append(body_.data(), needed);
    retained.tables = tables_;
    retained.hashes = hashes_;
    retained.old = old_.Copy(needed_old);
    retained_.push_back(static_cast<Retained&&>(retained));
  }
  old_.EndPart();
  parts_++;
  body_.Clear();
  StartPart();
  return SQLITE_OK;
}

int Capture::Settle(Connection* connection) {
  const int rc = SettleTouched(connection, false);
  return rc == SQLITE_OK ? SettleCandidates(connection) : rc;
}

// They stay: what this appends is undone with a savepoint that is returned to after a COMMIT was
// refused, and what is gone is gone still.
int Capture::SettleCandidates(Connection* connection) {
  Reader in(candidates_.span());
  Value value;
  while (!in.AtEnd()) {
    Table* table = connection->catalog.TableByShapeId(static_cast<int64_t>(in.Varint()));
    if (table == nullptr) return connection->Fail("SCHEMA_STALE", "a replicated table is gone");
    const uint8_t* begin = in.at();
    for (size_t i = 0; i < table->shape->keys.size(); i++) ReadValue(&in, &value);
    const Span key{begin, static_cast<size_t>(in.at() - begin)};
    const int rc = DeleteUnlessThere(connection, table, key);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

// The user's own triggers may change a row before our trigger of the outer statement runs, so that
// the patches of one row stand in the wrong order; and they may move a row into the way of a
// REPLACE after our triggers have looked. What counts is what the table holds in the end.
int Capture::SettleTouched(Connection* connection, bool more_follows) {
  if (!settle_rows_) return SQLITE_OK;
  std::vector<Touch> touches;
  CollectTouches(&touches);
  const auto same_row = [&](const Touch& a, const Touch& b) {
    return a.table == b.table && KeyOf(a) == KeyOf(b);
  };
  for (size_t i = 0, end; i < touches.size(); i = end) {
    for (end = i + 1; end < touches.size() && same_row(touches[i], touches[end]); end++) {
    }
    Table* table = tables_[touches[i].table];
    int rc = SQLITE_OK;
    // In a later part, the row's other patches may stand in one before.
    if (end - i > 1 || parts_ > 0) {
      rc = ReadAgain(connection, table, &touches[i], end - i);
    } else if (table->has_unique_indexes && touches[i].operation != Operation::kDelete) {
      rc = more_follows ? SQLITE_OK : DeleteUnlessThere(connection, table, KeyOf(touches[i]));
    }
    if (rc != SQLITE_OK) return rc;
    if (!more_follows || !table->has_unique_indexes) continue;
    candidates_.Varint(static_cast<uint64_t>(table->shape_id));
    candidates_.Append(KeyOf(touches[i]));
  }
  settle_rows_ = false;  // what was appended is settled
  return SQLITE_OK;
}

// The buffer's patches of tables with triggers of the user's, by row and in order.
void Capture::CollectTouches(std::vector<Touch>* touches) const {
  std::vector<const Shape*> shapes;
  for (Table* table : tables_) shapes.push_back(table->shape);
  const Payload payload = Patches();
  PatchReader reader(payload, shapes.data());
  Patch patch;
  while (reader.Next(&patch)) {
    if (!tables_[patch.shape_index]->has_user_triggers) continue;
    touches->push_back({patch.shape_index, patch.operation,
                        static_cast<size_t>(patch.encoded_key.data - body_.data()),
                        patch.encoded_key.size});
  }
  std::sort(touches->begin(), touches->end(), [this](const Touch& a, const Touch& b) {
    if (a.table != b.table) return a.table < b.table;
    if (a.key_size != b.key_size) return a.key_size < b.key_size;
    const int order = memcmp(KeyOf(a).data, KeyOf(b).data, a.key_size);
    return order != 0 ? order < 0 : a.key_offset < b.key_offset;
  });
}

// Appends what the row holds now of everything that its patches set.
int Capture::ReadAgain(Connection* connection, Table* table, const Touch* touches, size_t count) {
  const size_t bytes = table->shape->bitmap_bytes();
  Bytes key, bitmap;
  key.Append(KeyOf(touches[0]));
  memset(bitmap.Reserve(bytes + 1), 0, bytes + 1);
  bool whole = false;
  for (size_t i = 0; i < count && !whole; i++) {
    whole = touches[i].operation != Operation::kUpdate;
    const uint8_t* bits = body_.data() + touches[i].key_offset + touches[i].key_size;
    for (size_t b = 0; !whole && b < bytes; b++) bitmap.data()[b] |= bits[b];
  }
  return AppendFromTable(connection, table, key.span(), whole ? nullptr : bitmap.data());
}

int Capture::DeleteUnlessThere(Connection* connection, Table* table, Span encoded_key) {
  std::vector<Value> key(table->shape->keys.size());
  Reader in(encoded_key);
  for (Value& value : key) {
    if (!ReadValue(&in, &value)) return connection->Fail("CAPTURE_FAILED", "a key is damaged");
  }
  bool there;
  const int rc = RowExists(connection, table, key.data(), &there);
  if (rc != SQLITE_OK || there) return rc;
  Bytes copy;  // appending may move what the key is part of
  copy.Append(encoded_key);
  AppendHead(table, Operation::kDelete);
  body_.Append(copy.span());
  if (table->old_values) old_.Gone(table, copy.span());
  return SQLITE_OK;
}

// Appends a row's present content as a patch: whole, or the columns of `bitmap`.
int Capture::AppendFromTable(Connection* connection, Table* table, Span encoded_key,
                             const uint8_t* bitmap) {
  const Shape& shape = *table->shape;
  std::vector<Value> key(shape.keys.size());
  Reader in(encoded_key);
  for (Value& value : key) ReadValue(&in, &value);
  int rc = PrepareReadRow(connection, table);
  if (rc != SQLITE_OK) return rc;
  BindKey(&table->read_row, key.data(), key.size());
  rc = table->read_row.Step();
  if (rc == SQLITE_OK) {
    AppendHead(table, Operation::kDelete);
    body_.Append(encoded_key);
    return SQLITE_OK;
  }
  if (rc != SQLITE_ROW) return connection->Check(rc);
  AppendHead(table, bitmap == nullptr ? Operation::kInsert : Operation::kUpdate);
  // The key as the row spells it by now: under NOCASE a trigger may have changed that, too.
  for (size_t i = 0; i < shape.keys.size(); i++) {
    Value part;
    table->read_row.ColumnAny(static_cast<int>(shape.columns.size() + i), &part);
    AppendValue(&body_, part);
  }
  if (bitmap != nullptr) body_.Append(bitmap, shape.bitmap_bytes());
  for (size_t i = 0; i < shape.columns.size(); i++) {
    if (bitmap != nullptr && (bitmap[i / 8] >> (i % 8) & 1) == 0) continue;
    Value value;
    table->read_row.ColumnAny(static_cast<int>(i), &value);
    AppendValue(&body_, value);
  }
  return connection->Check(table->read_row.Reset());
}

}  // namespace mergelite
