#include "readmit.h"

#include <algorithm>

#include "connection.h"
#include "fates.h"
#include "old_values.h"
#include "parked.h"
#include "row_scan.h"
#include "slice_writer.h"
#include "table_sql.h"
#include "trim.h"

namespace mergelite {
namespace {

constexpr int kRowsBetweenLooks = 32;  // at the time
constexpr uint64_t kGivenUpMax = 256;  // between two looks

// parked_done u8, then of the last parked patch: timestamp, id; or a table's name and a key.
struct Cursor {
  bool rows = false;
  uint64_t timestamp = 0, id = 0;
  Bytes table, after;

  void Encode(Bytes* out) const {
    out->Clear();
    out->Byte(rows ? 1 : 0);
    out->Varint(timestamp);
    out->Varint(id);
    out->Varint(table.size());
    out->Append(table.span());
    out->Append(after.span());
  }
  bool Decode(Span bytes) {
    if (bytes.size == 0) return true;
    Reader in(bytes);
    rows = in.Byte() != 0;
    timestamp = in.Varint();
    id = in.Varint();
    table.Append(in.Take(in.Varint()));
    after.Append(in.at(), in.left());
    return in.ok();
  }
};

class Reissuer {
 public:
  Reissuer(Connection* connection, const Fates& fates, const Deadline& deadline, Reissue* reissue)
      : connection_(connection), fates_(fates), deadline_(deadline), reissue_(*reissue) {}

  int Run(Cursor* cursor) {
    bool folded;
    int rc = FoldAll(connection_, deadline_, &folded);
    if (rc != SQLITE_OK || !folded) return reissue_.more = true, rc;
    if (!cursor->rows) rc = Parked(cursor);
    while (rc == SQLITE_OK && !reissue_.more) {
      Table* table = NextTable(cursor->table.span());
      if (table == nullptr) return SQLITE_OK;
      rc = Rows(table, cursor);
    }
    return rc;
  }

 private:
  Table* NextTable(Span name) const {
    Table* first = nullptr;
    for (const auto& table : connection_->catalog.tables()) {
      if (!table->active || CompareNames(table->name.span(), name) < 0) continue;
      if (first != nullptr && CompareNames(first->name.span(), table->name.span()) < 0) continue;
      first = table.get();
    }
    return first;
  }

  // Rows that are withheld, and tables and columns that are not here: each as one changeset, which
  // what is parked belongs to from then on.
  int Parked(Cursor* cursor) {
    Statement query, move;
    int rc = connection_->Check(query.Prepare(
        connection_->api, connection_->db,
        "SELECT id, peer, timestamp, shape, patch, reason FROM main._mergelite_parked WHERE "
        "(timestamp, id) > (?1, ?2) AND reason <> 'check' ORDER BY timestamp, id LIMIT 1"));
    if (rc == SQLITE_OK) {
      rc = connection_->Check(move.Prepare(
          connection_->api, connection_->db,
          "UPDATE main._mergelite_parked SET peer = ?2, sequence = ?3, timestamp = ?4 WHERE id = "
          "?1"));
    }
    if (rc != SQLITE_OK || !AnyParked(connection_)) return cursor->rows = true, rc;
    // What is moved has the newest stamps, and comes last.
    const uint64_t end = connection_->log.newest_timestamp();
    for (;;) {
      query.Integer(1, static_cast<int64_t>(cursor->timestamp));
      query.Integer(2, static_cast<int64_t>(cursor->id));
      rc = query.Step();
      if (rc != SQLITE_ROW) return cursor->rows = true, connection_->Check(rc);
      cursor->id = static_cast<uint64_t>(query.ColumnInteger(0));
      cursor->timestamp = static_cast<uint64_t>(query.ColumnInteger(2));
      if (cursor->timestamp > end) return cursor->rows = true, connection_->Check(query.Reset());
      rc = ParkedOne(&query, &move);
      if (rc == SQLITE_OK) rc = connection_->Check(query.Reset());
      if (rc != SQLITE_OK) return rc;
      if (deadline_.Passed()) return reissue_.more = true, SQLITE_OK;
    }
  }

  int ParkedOne(Statement* query, Statement* move) {
    Log& log = connection_->log;
    const Origin* origin = log.FindOrigin(static_cast<uint64_t>(query->ColumnInteger(1)));
    const Stamp stamp{static_cast<uint64_t>(query->ColumnInteger(2)),
                      origin == nullptr ? 0 : origin->ordinal};
    if (origin == nullptr || !fates_.Reissues(stamp)) return SQLITE_OK;
    // An update of a row that is not there: it shows nowhere.
    if (ReasonOf(query->ColumnText(5)) == Reason::kRow) return SQLITE_OK;
    SliceWriter writer(connection_, static_cast<uint64_t>(query->ColumnInteger(3)), 0);
    writer.Tick();
    Reader in(query->ColumnBytes(4));
    writer.body()->Varint(PatchHead(0, static_cast<Operation>(in.Varint() & 3)));
    writer.body()->Append(in.at(), in.left());
    int rc = writer.Added();
    if (rc == SQLITE_OK) rc = writer.Write();
    if (rc != SQLITE_OK) return rc;
    reissue_.patches++;
    move->Integer(1, query->ColumnInteger(0));
    move->Integer(2, static_cast<int64_t>(log.self()->peer));
    move->Integer(3, static_cast<int64_t>(log.self()->held));
    move->Integer(4, static_cast<int64_t>(writer.timestamp()));
    return connection_->Check(move->Run());
  }

  int Rows(Table* table, Cursor* cursor) {
    int rc = connection_->catalog.Check(connection_, table);
    if (rc != SQLITE_OK) return rc;
    const bool continues = CompareNames(table->name.span(), cursor->table.span()) == 0;
    Bytes after;
    if (continues) after.Swap(cursor->after);
    cursor->table.Clear();
    cursor->table.Append(table->name.span());
    cursor->after.Clear();
    Statement rows;
    rc = PrepareRows(*table, after.span(), &rows);
    if (rc != SQLITE_OK) return rc;
    SliceWriter writer(connection_, table->shape->hash, 0);
    writer.Tick();
    for (int looked = 1; (rc = rows.Step()) == SQLITE_ROW; looked++) {
      rc = Row(*table, &rows, &writer);
      if (rc != SQLITE_OK) return rc;
      if (looked % kRowsBetweenLooks != 0 || !deadline_.Passed()) continue;
      cursor->after.Append(key_.span());
      reissue_.more = true;
      rc = connection_->Check(rows.Reset());
      break;
    }
    if (rc == SQLITE_OK) rc = writer.Write();
    reissue_.patches += writer.patches();
    // The byte 0: behind this name, and before all that begin like it.
    if (!reissue_.more) cursor->table.Byte(0);
    return connection_->Check(rc);
  }

  // Clocks in the order of keys, each with its row if that is shown.
  int PrepareRows(const Table& table, Span after, Statement* rows) {
    const Shape& shape = *table.shape;
    const size_t keys = shape.keys.size();
    Text names, sql("SELECT c._mergelite_clock");
    for (const KeyColumn& key : shape.keys) {
      (names << (names.empty() ? "c." : ", c.")).Name(key.name.c_str());
    }
    sql << ", " << names << ", t.";
    sql.Name(shape.keys[0].name.c_str()) << " IS NOT NULL";
    for (const Text& column : shape.columns) (sql << ", t.").Name(column.c_str());
    sql << " FROM ";
    AppendClockName(&sql, table);
    sql << " AS c LEFT JOIN ";
    AppendTableName(&sql, table);
    const char* separator = " AS t ON t.";
    for (const KeyColumn& key : shape.keys) {
      ((sql << separator).Name(key.name.c_str()) << " = c.").Name(key.name.c_str());
      separator = " AND t.";
    }
    if (after.size > 0) AppendKeyBound(&(sql << " WHERE "), names, ">", 1, keys);
    sql << " ORDER BY " << names;
    const int rc =
        connection_->Check(rows->Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc != SQLITE_OK || after.size == 0) return rc;
    return BindKeyBytes(connection_, rows, 1, after, keys);
  }

  int Row(const Table& table, Statement* rows, SliceWriter* writer) {
    const size_t keys = table.shape->keys.size();
    if (!clock_.Decode(rows->ColumnBytes(0))) {
      return connection_->Fail("FILE_DAMAGED", "a row clock does not decode",
                               "Run `PRAGMA integrity_check`; restore the file from a backup.");
    }
    key_.Clear();
    for (size_t i = 0; i < keys; i++) AppendColumn(rows, 1 + i, &key_);
    const bool shown = rows->ColumnInteger(static_cast<int>(keys) + 1) != 0;
    if (!clock_.has_life || (clock_.alive && !shown)) return SQLITE_OK;
    Bytes* body = writer->body();
    if (fates_.Reissues(clock_.life)) {
      body->Varint(PatchHead(0, clock_.alive ? Operation::kInsert : Operation::kDelete));
      body->Append(key_.span());
      for (size_t i = 0; clock_.alive && i < table.shape->columns.size(); i++) {
        AppendColumn(rows, keys + 2 + i, body);
      }
      return writer->Added();
    }
    return clock_.alive ? Columns(table, rows, writer) : SQLITE_OK;
  }

  int Columns(const Table& table, Statement* rows, SliceWriter* writer) {
    const size_t first = table.shape->keys.size() + 2;
    Bytes bitmap, values;
    memset(bitmap.Reserve(table.shape->bitmap_bytes() + 1), 0, table.shape->bitmap_bytes() + 1);
    bitmap.Advance(table.shape->bitmap_bytes());
    for (size_t i = 0; i < table.column_ids.size(); i++) {
      for (const Override& entry : clock_.overrides) {
        if (entry.column != table.column_ids[i] || !fates_.Reissues(entry.stamp)) continue;
        bitmap.data()[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
        AppendColumn(rows, first + i, &values);
      }
    }
    if (values.empty()) return SQLITE_OK;
    writer->body()->Varint(PatchHead(0, Operation::kUpdate));
    writer->body()->Append(key_.span());
    writer->body()->Append(bitmap.span());
    writer->body()->Append(values.span());
    return writer->Added();
  }

  static void AppendColumn(Statement* rows, size_t column, Bytes* out) {
    Value value;
    rows->ColumnAny(static_cast<int>(column), &value);
    AppendValue(out, value);
  }

  Connection* connection_;
  const Fates& fates_;
  const Deadline& deadline_;
  Reissue& reissue_;
  RowClock clock_;
  Bytes key_;
};

// The newest of what is left of one origin first, so that its marks are right after each slice.
int GiveUpOrigin(Connection* connection, const Fate& fate, const Deadline& deadline,
                 GiveUp* give_up) {
  Origin* origin = fate.origin;
  Statement log, refused;
  int rc =
      connection->Check(log.Prepare(connection->api, connection->db,
                                    "DELETE FROM main._mergelite_log WHERE id > ?1 AND id <= ?2"));
  if (rc == SQLITE_OK) {
    rc = connection->Check(
        refused.Prepare(connection->api, connection->db,
                        "DELETE FROM main._mergelite_refused WHERE peer = ?1 AND sequence > ?2"));
  }
  origin->timestamp = std::min(origin->timestamp, fate.timestamp);
  // Its rows are in the tables all the same.
  origin->reached = std::max(origin->reached, origin->held);
  origin->dirty = true;
  const int64_t base = LogBase(origin->ordinal);
  while (rc == SQLITE_OK && origin->held > fate.known && !give_up->more) {
    const uint64_t left = std::max(fate.known, origin->held - std::min(origin->held, kGivenUpMax));
    log.Integer(1, base + static_cast<int64_t>(left));
    log.Integer(2, base + static_cast<int64_t>(origin->held));
    rc = connection->Check(log.Run());
    if (rc == SQLITE_OK) rc = DropOldValues(connection, *origin, left, origin->held);
    give_up->changesets += origin->held - left;
    for (uint64_t* mark : {&origin->held, &origin->merged, &origin->folded, &origin->absorbed,
                           &origin->trimmed, &origin->acknowledged}) {
      *mark = std::min(*mark, left);
    }
    give_up->more = deadline.Passed();
  }
  if (rc != SQLITE_OK) return rc;
  refused.Integer(1, static_cast<int64_t>(origin->peer));
  refused.Integer(2, static_cast<int64_t>(origin->held));
  return connection->Check(refused.Run());
}

}  // namespace

int FindUnsent(Connection* connection, const Readmission& readmission, Unsent* unsent) {
  Fates fates(connection, readmission);
  int rc = connection->log.Refresh(connection);
  if (rc == SQLITE_OK) rc = fates.Decide();
  if (rc != SQLITE_OK) return rc;
  unsent->others = !fates.list().empty();
  const Origin* self = connection->log.self();
  const uint64_t known = fates.Known(self->peer);
  // What others were known to hold may be trimmed.
  unsent->own = self->trimmed > known;
  if (unsent->own || self->held <= known) return SQLITE_OK;
  Statement query;
  rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT EXISTS (SELECT 1 FROM main._mergelite_log WHERE id > ?1 AND id <= ?2 AND timestamp < "
      "?3)"));
  if (rc != SQLITE_OK) return rc;
  query.Integer(1, LogBase(self->ordinal) + static_cast<int64_t>(known));
  query.Integer(2, LogBase(self->ordinal) + static_cast<int64_t>(self->held));
  query.Integer(3, static_cast<int64_t>(readmission.bound));
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  unsent->own = query.ColumnInteger(0) != 0;
  return connection->Check(query.Reset());
}

int ReissueRows(Connection* connection, const Readmission& readmission, double budget_ms,
                Reissue* reissue) {
  const Deadline deadline(connection, budget_ms);
  Cursor cursor;
  if (!cursor.Decode(reissue->cursor.span())) {
    return connection->Fail("KEY_MALFORMED", "a cursor does not decode");
  }
  MergeStats stats;
  const int rc = InMergeTransaction(connection, &stats, false, [&] {
    Fates fates(connection, readmission);
    const int decided = fates.Decide();
    if (decided != SQLITE_OK || fates.list().empty()) return decided;
    return Reissuer(connection, fates, deadline, reissue).Run(&cursor);
  });
  reissue->busy = stats.busy;
  if (rc == SQLITE_OK && !stats.busy) cursor.Encode(&reissue->cursor);
  return rc;
}

int GiveUpChangesets(Connection* connection, const Readmission& readmission, double budget_ms,
                     GiveUp* give_up) {
  const Deadline deadline(connection, budget_ms);
  MergeStats stats;
  const int rc = InMergeTransaction(connection, &stats, false, [&] {
    bool folded;
    int result = FoldAll(connection, deadline, &folded);
    if (result != SQLITE_OK || !folded) return give_up->more = true, result;
    Fates fates(connection, readmission);
    result = fates.Decide();
    for (size_t i = 0; result == SQLITE_OK && i < fates.list().size() && !give_up->more; i++) {
      result = GiveUpOrigin(connection, fates.list()[i], deadline, give_up);
    }
    return result;
  });
  give_up->busy = stats.busy;
  return rc;
}

}  // namespace mergelite
