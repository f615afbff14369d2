#include "readmit.h"

#include "connection.h"
#include "fates.h"
#include "merge_scope.h"
#include "parked.h"
#include "row_scan.h"
#include "slice_writer.h"
#include "table_sql.h"
#include "trim.h"

namespace mergelite {
namespace {

constexpr int kRowsBetweenLooks = 32;  // at the time

// parked_done u8, what Fates has found, then of the last parked patch: timestamp, id; or a table's
// name and a key.
struct Cursor {
  bool rows = false;
  Bytes oldest;
  uint64_t timestamp = 0, id = 0;
  Bytes table, after;

  void Encode(Bytes* out) const {
    out->Clear();
    out->Byte(rows ? 1 : 0);
    out->Varint(oldest.size());
    out->Append(oldest.span());
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
    oldest.Append(in.Take(in.Varint()));
    timestamp = in.Varint();
    id = in.Varint();
    table.Append(in.Take(in.Varint()));
    after.Append(in.at(), in.left());
    return in.ok();
  }
};

// Rows come in the order of their keys, and a changeset has one timestamp: for most that is the
// bound's, and for the others the one before's.
class Writers {
 public:
  Writers(Connection* connection, uint64_t shape_hash)
      : connection_(connection), shape_hash_(shape_hash) {}

  int At(uint64_t timestamp, SliceWriter** writer) {
    std::unique_ptr<SliceWriter>* place = &first_;
    if (first_ != nullptr && first_->timestamp() != timestamp) place = &other_;
    int rc = SQLITE_OK;
    if (*place != nullptr && (*place)->timestamp() != timestamp) rc = End(place);
    if (*place == nullptr) {
      *place = std::make_unique<SliceWriter>(connection_, shape_hash_, timestamp);
    }
    *writer = place->get();
    return rc;
  }
  int Write() {
    const int rc = End(&first_);
    return rc == SQLITE_OK ? End(&other_) : rc;
  }
  uint64_t patches() const { return patches_; }

 private:
  int End(std::unique_ptr<SliceWriter>* writer) {
    if (*writer == nullptr) return SQLITE_OK;
    const int rc = (*writer)->Write();
    patches_ += (*writer)->patches();
    writer->reset();
    return rc;
  }

  Connection* connection_;
  uint64_t shape_hash_;
  std::unique_ptr<SliceWriter> first_, other_;
  uint64_t patches_ = 0;
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
    for (;;) {
      query.Integer(1, static_cast<int64_t>(cursor->timestamp));
      query.Integer(2, static_cast<int64_t>(cursor->id));
      rc = query.Step();
      if (rc != SQLITE_ROW) return cursor->rows = true, connection_->Check(rc);
      cursor->id = static_cast<uint64_t>(query.ColumnInteger(0));
      cursor->timestamp = static_cast<uint64_t>(query.ColumnInteger(2));
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
    // An update of a row that is not there: no insert comes any more that it is newer than.
    if (ReasonOf(query->ColumnText(5)) == Reason::kRow && fates_.IsBelow(stamp.timestamp)) {
      return SQLITE_OK;
    }
    SliceWriter writer(connection_, static_cast<uint64_t>(query->ColumnInteger(3)),
                       fates_.Restamped(stamp.timestamp));
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
    Writers writers(connection_, table->shape->hash);
    for (int looked = 1; (rc = rows.Step()) == SQLITE_ROW; looked++) {
      rc = Row(*table, &rows, &writers);
      if (rc != SQLITE_OK) return rc;
      if (looked % kRowsBetweenLooks != 0 || !deadline_.Passed()) continue;
      cursor->after.Append(key_.span());
      reissue_.more = true;
      rc = connection_->Check(rows.Reset());
      break;
    }
    if (rc == SQLITE_OK) rc = writers.Write();
    reissue_.patches += writers.patches();
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

  int Row(const Table& table, Statement* rows, Writers* writers) {
    const size_t keys = table.shape->keys.size();
    if (!clock_.Decode(rows->ColumnBytes(0))) {
      return connection_->Fail("FILE_DAMAGED", "a row clock does not decode",
                               "Run `PRAGMA integrity_check`; restore the file from a backup.");
    }
    key_.Clear();
    for (size_t i = 0; i < keys; i++) AppendColumn(rows, 1 + i, &key_);
    const bool shown = rows->ColumnInteger(static_cast<int>(keys) + 1) != 0;
    if (!clock_.has_life || (clock_.alive && !shown)) return SQLITE_OK;
    // What an insert brings is older than the columns that were set after it.
    uint64_t since = 0;
    if (fates_.Reissues(clock_.life)) {
      since = fates_.Restamped(clock_.life.timestamp);
      SliceWriter* writer;
      int rc = writers->At(since, &writer);
      if (rc != SQLITE_OK) return rc;
      Bytes* body = writer->body();
      body->Varint(PatchHead(0, clock_.alive ? Operation::kInsert : Operation::kDelete));
      body->Append(key_.span());
      for (size_t i = 0; clock_.alive && i < table.shape->columns.size(); i++) {
        AppendColumn(rows, keys + 2 + i, body);
      }
      rc = writer->Added();
      if (rc != SQLITE_OK) return rc;
    }
    return clock_.alive ? Columns(table, rows, {since, writers}) : SQLITE_OK;
  }

  struct ColumnsTo {
    uint64_t since;
    Writers* writers;
  };
  // One patch for each timestamp: most often that of the bound.
  int Columns(const Table& table, Statement* rows, ColumnsTo to) {
    const size_t bytes = table.shape->bitmap_bytes();
    uint64_t last = 0;
    for (uint64_t timestamp; (timestamp = NextRestamped(last, to.since)) != 0; last = timestamp) {
      Bytes bitmap, values;
      memset(bitmap.Reserve(bytes + 1), 0, bytes + 1);
      bitmap.Advance(bytes);
      for (size_t i = 0; i < table.column_ids.size(); i++) {
        for (const Override& entry : clock_.overrides) {
          if (entry.column != table.column_ids[i] || !fates_.Reissues(entry.stamp)) continue;
          if (fates_.Restamped(entry.stamp.timestamp) != timestamp) continue;
          bitmap.data()[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
          AppendColumn(rows, table.shape->keys.size() + 2 + i, &values);
        }
      }
      if (values.empty()) continue;
      SliceWriter* writer;
      int rc = to.writers->At(timestamp, &writer);
      if (rc != SQLITE_OK) return rc;
      writer->body()->Varint(PatchHead(0, Operation::kUpdate));
      writer->body()->Append(key_.span());
      writer->body()->Append(bitmap.span());
      writer->body()->Append(values.span());
      rc = writer->Added();
      if (rc != SQLITE_OK) return rc;
    }
    return SQLITE_OK;
  }

  // The least timestamp above `last` at which a column of the row is written again; 0 for none.
  uint64_t NextRestamped(uint64_t last, uint64_t since) const {
    uint64_t least = 0;
    for (const Override& entry : clock_.overrides) {
      if (!fates_.Reissues(entry.stamp)) continue;
      const uint64_t timestamp = fates_.Restamped(entry.stamp.timestamp);
      if (timestamp <= last || timestamp <= since) continue;
      if (least == 0 || timestamp < least) least = timestamp;
    }
    return least;
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

}  // namespace

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
    const int decided = fates.Decide(&cursor.oldest);
    if (decided != SQLITE_OK || fates.list().empty()) return decided;
    return Reissuer(connection, fates, deadline, reissue).Run(&cursor);
  });
  reissue->busy = stats.busy;
  if (rc == SQLITE_OK && !stats.busy) cursor.Encode(&reissue->cursor);
  return rc;
}

}  // namespace mergelite
