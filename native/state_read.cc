// The sending side of a state transfer: what tables, row clocks and parked patches hold, as chunks.
#include <algorithm>

#include "connection.h"
#include "parked.h"
#include "state.h"
#include "table_sql.h"
#include "trim.h"

namespace mergelite {
namespace {

// How often the time is looked at.
constexpr uint64_t kRowsBetweenLooks = 32;

class ChunkReader {
 public:
  ChunkReader(Connection* connection, size_t bytes_max, const Deadline& deadline, StateRead* read)
      : connection_(connection), bytes_max_(bytes_max), deadline_(deadline), read_(*read) {
    for (const auto& origin : connection->log.origins()) {
      if (index_by_ordinal_.size() <= origin->ordinal) {
        index_by_ordinal_.resize(origin->ordinal + 1, 0);
      }
      index_by_ordinal_[origin->ordinal] = chunk_.vector.size();
      chunk_.vector.push_back({origin->peer, origin->merged, origin->timestamp});
    }
  }

  int Run(const StateCursor& from) {
    StateCursor cursor = from;
    if (!cursor.rows) {
      parked_after_.Varint(cursor.parked_after);
      chunk_.after = parked_after_.span();
      const int rc = ReadParked(&cursor);
      if (rc != SQLITE_OK || items_.size() > 0) return rc == SQLITE_OK ? Finish(cursor) : rc;
      cursor.rows = true;
      chunk_.after = {};
    }
    Table* table = TableFrom(cursor.table, false);
    if (table == nullptr) {
      chunk_.flags = kStateEnds;
      return Finish(cursor);
    }
    return ReadRows(table, cursor);
  }

 private:
  int Finish(const StateCursor& next) {
    for (const Bytes& descriptor : descriptors_) chunk_.shapes.push_back(descriptor.span());
    chunk_.item_count = item_count_;
    chunk_.items = items_.span();
    EncodeStateChunk(chunk_, &read_.chunk);
    EncodeStateCursor(next, &read_.next);
    read_.ends = (chunk_.flags & kStateEnds) != 0;
    return SQLITE_OK;
  }

  bool Full() {
    return items_.size() >= bytes_max_ || (++looks_ % kRowsBetweenLooks == 0 && deadline_.Passed());
  }

  // The first table whose name is at or behind this one, or just behind.
  Table* TableFrom(Span name, bool behind) {
    Table* first = nullptr;
    for (const auto& table : connection_->catalog.tables()) {
      if (!table->active || CompareNames(table->name.span(), name) < (behind ? 1 : 0)) continue;
      if (first != nullptr && CompareNames(first->name.span(), table->name.span()) < 0) continue;
      first = table.get();
    }
    return first;
  }

  int ReadParked(StateCursor* cursor) {
    Statement query;
    int rc = connection_->Check(query.Prepare(
        connection_->api, connection_->db,
        "SELECT peer, sequence, timestamp, shape, patch, id FROM main._mergelite_parked WHERE id "
        "> ?1 AND reason <> 'check' ORDER BY id"));
    if (rc != SQLITE_OK) return rc;
    query.Integer(1, static_cast<int64_t>(cursor->parked_after));
    while ((rc = query.Step()) == SQLITE_ROW) {
      cursor->parked_after = static_cast<uint64_t>(query.ColumnInteger(5));
      rc = AddParked(&query);
      if (rc != SQLITE_OK) return rc;
      EndRow();
      if (Full()) return connection_->Check(query.Reset());
    }
    cursor->rows = rc == SQLITE_OK;
    return connection_->Check(rc);
  }

  int ReadRows(Table* table, const StateCursor& from) {
    int rc = connection_->catalog.Check(connection_, table);
    if (rc == SQLITE_OK) rc = KeyOrder(connection_, *table, &chunk_.order);
    if (rc == SQLITE_OK) rc = LookForParked(*table);
    if (rc != SQLITE_OK) return rc;
    const bool continues =
        from.order == chunk_.order && CompareNames(from.table, table->name.span()) == 0;
    const Span after = continues ? from.after : Span{};
    ShapeIndex(*table->shape);
    chunk_.table = table->name.span();
    chunk_.after = after;
    read_.table = table->name.Copy();
    Statement rows;
    rc = PrepareRows(*table, after, &rows);
    if (rc != SQLITE_OK) return rc;
    StateCursor next{true, from.parked_after, table->name.span(), chunk_.order, after};
    while ((rc = rows.Step()) == SQLITE_ROW) {
      rc = AddRow(*table, &rows);
      if (rc != SQLITE_OK) return rc;
      read_.rows++;
      next.after = key_.span();
      if (!Full()) continue;
      rc = connection_->Check(rows.Reset());
      return rc == SQLITE_OK ? Finish(next) : rc;
    }
    if (rc != SQLITE_OK) return connection_->Check(rc);
    const Table* following = TableFrom(table->name.span(), true);
    chunk_.flags = kStateTableEnds | (following == nullptr ? kStateEnds : 0);
    next = {true, from.parked_after, following == nullptr ? Span{} : following->name.span(), 0, {}};
    return Finish(next);
  }

  // Clocks in the order of keys, each with its row if that is shown.
  int PrepareRows(const Table& table, Span after, Statement* rows) {
    const Shape& shape = *table.shape;
    Text sql("SELECT c._mergelite_clock");
    for (const char* side : {"t.", "c."}) {
      for (const KeyColumn& key : shape.keys) (sql << ", " << side).Name(key.name.c_str());
    }
    for (const Text& column : shape.columns) (sql << ", t.").Name(column.c_str());
    sql << " FROM ";
    AppendClockName(&sql, table);
    sql << " AS c LEFT JOIN ";
    AppendTableName(&sql, table);
    const char* separator = " AS t ON ";
    Text names, marks;
    for (size_t i = 0; i < shape.keys.size(); i++) {
      (sql << separator << "t.").Name(shape.keys[i].name.c_str()) << " = c.";
      sql.Name(shape.keys[i].name.c_str());
      separator = " AND ";
      (names << (i > 0 ? ", c." : "c.")).Name(shape.keys[i].name.c_str());
      marks << (i > 0 ? ", ?" : "?") << (i + 1);
    }
    if (after.size > 0) sql << " WHERE (" << names << ") > (" << marks << ")";
    sql << " ORDER BY " << names;
    int rc = connection_->Check(rows->Prepare(connection_->api, connection_->db, sql.c_str()));
    Reader in(after);
    for (size_t i = 0; rc == SQLITE_OK && after.size > 0 && i < shape.keys.size(); i++) {
      Value value;
      if (!ReadValue(&in, &value)) return connection_->Fail("KEY_MALFORMED", "a key is damaged");
      rows->Any(static_cast<int>(i) + 1, value);
    }
    return rc;
  }

  int AddRow(const Table& table, Statement* rows) {
    const size_t keys = table.shape->keys.size();
    if (!clock_.Decode(rows->ColumnBytes(0))) {
      return connection_->Fail("FILE_DAMAGED", "a row clock does not decode",
                               "Run `PRAGMA integrity_check`; restore the file from a backup.");
    }
    const bool shown = !rows->ColumnIsNull(1);
    key_.Clear();
    key_values_.resize(keys);
    for (size_t i = 0; i < keys; i++) {
      rows->ColumnAny(static_cast<int>(1 + (shown ? 0 : keys) + i), &key_values_[i]);
      AppendValue(&key_, key_values_[i]);
    }
    if (clock_.has_life && !clock_.alive) {
      StartItem(clock_.life, Operation::kDelete);
    } else if (clock_.has_life && shown) {
      AddShown(table, rows);
    }
    // Whatever is parked for the row comes after its key as the table has it.
    if (!pending_) {
      StartItem(clock_.has_life ? clock_.life : Stamp{1, clock_.life.origin}, Operation::kDelete);
      item_.mention = true;
      item_.unborn = !clock_.has_life;
    }
    const int rc = any_parked_ ? AddParkedOf(table) : SQLITE_OK;
    EndRow();
    return rc;
  }

  void AddShown(const Table& table, Statement* rows) {
    const size_t first = 1 + 2 * table.shape->keys.size();
    const size_t columns = table.shape->columns.size();
    StartItem(clock_.life, Operation::kInsert);
    Value value;
    for (size_t i = 0; i < columns; i++) {
      rows->ColumnAny(static_cast<int>(first + i), &value);
      AppendValue(&patch_, value);
    }
    // Columns set at one stamp are one update.
    std::vector<Override>& overrides = clock_.overrides;
    for (size_t at = 0; at < overrides.size(); at++) {
      const Stamp stamp = overrides[at].stamp;
      const auto same = [&](const Override& entry) { return entry.stamp == stamp; };
      if (std::any_of(overrides.begin(), overrides.begin() + static_cast<long>(at), same)) continue;
      Bytes bitmap, values;
      memset(bitmap.Reserve(table.shape->bitmap_bytes() + 1), 0, table.shape->bitmap_bytes() + 1);
      bitmap.Advance(table.shape->bitmap_bytes());
      for (size_t i = 0; i < columns; i++) {
        const uint32_t id = table.column_ids[i];
        const auto set = [&](const Override& entry) { return entry.column == id && same(entry); };
        if (!std::any_of(overrides.begin(), overrides.end(), set)) continue;
        bitmap.data()[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
        rows->ColumnAny(static_cast<int>(first + i), &value);
        AppendValue(&values, value);
      }
      // Of columns that the table no longer has nothing is left to send.
      if (values.empty()) continue;
      StartItem(stamp, Operation::kUpdate);
      patch_.Append(bitmap.span());
      patch_.Append(values.span());
    }
  }

  int LookForParked(const Table& table) {
    Statement query;
    int rc = connection_->Check(
        query.Prepare(connection_->api, connection_->db,
                      "SELECT EXISTS (SELECT 1 FROM main._mergelite_parked WHERE table_name = "
                      "?1)"));
    if (rc != SQLITE_OK) return rc;
    query.String(1, table.name.span());
    rc = query.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    any_parked_ = query.ColumnInteger(0) != 0;
    return SQLITE_OK;
  }

  int AddParkedOf(const Table& table) {
    int rc = connection_->Prepare(
        &parked_,
        "SELECT peer, sequence, timestamp, shape, patch FROM main._mergelite_parked WHERE "
        "table_name = ?1 AND key = ?2 AND reason <> 'check' ORDER BY timestamp, id");
    if (rc != SQLITE_OK) return rc;
    IdentityOf(*table.shape, key_values_.data(), &identity_);
    parked_.String(1, table.name.span());
    parked_.Bytes(2, identity_.span());
    while ((rc = parked_.Step()) == SQLITE_ROW) {
      rc = AddParked(&parked_);
      if (rc != SQLITE_OK) return rc;
    }
    return connection_->Check(rc);
  }

  int AddParked(Statement* parked) {
    Origin* origin = connection_->log.FindOrigin(static_cast<uint64_t>(parked->ColumnInteger(0)));
    const Shape* shape;
    const int rc = connection_->catalog.FindShape(
        connection_, static_cast<uint64_t>(parked->ColumnInteger(3)), &shape);
    if (rc != SQLITE_OK || shape == nullptr || origin == nullptr) return rc;
    const Span patch = parked->ColumnBytes(4);
    Reader in(patch);
    const auto operation = static_cast<Operation>(in.Varint() & 3);
    FlushItem(true);
    item_.origin = index_by_ordinal_[origin->ordinal];
    item_.timestamp = static_cast<uint64_t>(parked->ColumnInteger(2));
    item_.sequence = static_cast<uint64_t>(parked->ColumnInteger(1));
    patch_.Varint(PatchHead(ShapeIndex(*shape), operation));
    patch_.Append(in.at(), in.left());
    pending_ = true;
    return SQLITE_OK;
  }

  size_t ShapeIndex(const Shape& shape) {
    for (size_t i = 0; i < shape_hashes_.size(); i++) {
      if (shape_hashes_[i] == shape.hash) return i;
    }
    shape_hashes_.push_back(shape.hash);
    descriptors_.emplace_back();
    EncodeShape(shape, &descriptors_.back());
    return shape_hashes_.size() - 1;
  }

  void StartItem(const Stamp& stamp, Operation operation) {
    FlushItem(true);
    item_.origin = index_by_ordinal_[stamp.origin];
    item_.timestamp = stamp.timestamp;
    patch_.Varint(PatchHead(0, operation));
    patch_.Append(key_.span());
    pending_ = true;
  }
  void EndRow() { FlushItem(false); }
  void FlushItem(bool goes_on) {
    if (pending_) {
      item_.goes_on = goes_on;
      item_.patch = patch_.span();
      AppendStateItem(item_, &items_);
      item_count_++;
    }
    pending_ = false;
    item_ = {};
    patch_.Clear();
  }

  Connection* connection_;
  size_t bytes_max_;
  const Deadline& deadline_;
  StateRead& read_;
  StateChunk chunk_;
  std::vector<size_t> index_by_ordinal_;
  std::vector<uint64_t> shape_hashes_;
  std::vector<Bytes> descriptors_;
  Bytes items_, patch_, key_, identity_, parked_after_;
  std::vector<Value> key_values_;
  uint64_t item_count_ = 0, looks_ = 0;
  StateItem item_;
  bool pending_ = false, any_parked_ = false;
  RowClock clock_;
  Statement parked_;
};

}  // namespace

int KeyOrder(Connection* connection, const Table& table, uint64_t* order) {
  TableInfo info;
  int rc = DescribeTable(connection, table.name.c_str(), &info);
  Statement query;
  if (rc == SQLITE_OK) {
    rc = connection->Check(query.Prepare(connection->api, connection->db, "PRAGMA main.encoding"));
  }
  if (rc != SQLITE_OK) return rc;
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  Text text(query.ColumnText(0));
  for (size_t i = 0; i < info.shape.keys.size(); i++) {
    text << " " << info.key_types[i] << " " << static_cast<uint64_t>(info.shape.keys[i].collation);
  }
  if (info.integer_key) text << " rowid";
  *order = Hash64(text.span());
  return SQLITE_OK;
}

int ReadState(Connection* connection, Span cursor, size_t bytes_max, double budget_ms,
              StateRead* read) {
  StateCursor from;
  if (!DecodeStateCursor(cursor, &from)) {
    return connection->Fail("KEY_MALFORMED", "a state cursor does not decode",
                            "The peer that sent it is damaged.");
  }
  const Deadline deadline(connection, budget_ms);
  MergeStats stats;
  const int rc = InMergeTransaction(connection, &stats, false, [&] {
    bool done;
    int result = RetryParked(connection, deadline, &done);
    if (result != SQLITE_OK || !done) return read->more = true, result;
    result = FoldAll(connection, deadline, &done);
    if (result != SQLITE_OK || !done) return read->more = true, result;
    return ChunkReader(connection, bytes_max, deadline, read).Run(from);
  });
  read->busy = stats.busy;
  if (stats.busy) read->chunk.Clear();
  return rc;
}

}  // namespace mergelite
