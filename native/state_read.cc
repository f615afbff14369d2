// The sending side of a state transfer: what tables, row clocks and parked patches hold, as chunks.
#include <algorithm>

#include "connection.h"
#include "parked.h"
#include "state.h"
#include "state_rows.h"
#include "table_sql.h"

namespace mergelite {
namespace {

// How often the time is looked at.
constexpr uint64_t kRowsBetweenLooks = 32;

class ChunkReader {
 public:
  ChunkReader(Connection* connection, size_t bytes_max, const Deadline& deadline, StateRead* read)
      : connection_(connection),
        bytes_max_(bytes_max),
        deadline_(deadline),
        read_(*read),
        rows_(connection) {}

  int Run(const StateCursor& from) {
    StateCursor cursor = from;
    if (!cursor.rows) {
      parked_after_.Varint(cursor.parked_after);
      rows_.chunk().after = parked_after_.span();
      const int rc = ReadParked(&cursor);
      if (rc != SQLITE_OK || rows_.size() > 0) return rc == SQLITE_OK ? Finish(cursor) : rc;
      cursor.rows = true;
      rows_.chunk().after = {};
    }
    Table* table = TableFrom(cursor.table, false);
    if (table == nullptr) {
      rows_.chunk().flags = kStateEnds;
      return Finish(cursor);
    }
    return ReadRows(table, cursor);
  }

 private:
  int Finish(const StateCursor& next) {
    rows_.Encode(&read_.chunk);
    EncodeStateCursor(next, &read_.next);
    read_.ends = (rows_.chunk().flags & kStateEnds) != 0;
    return SQLITE_OK;
  }

  bool Full() {
    return rows_.size() >= bytes_max_ || (++looks_ % kRowsBetweenLooks == 0 && deadline_.Passed());
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
      rc = rows_.AddParkedAlone(&query);
      if (rc != SQLITE_OK) return rc;
      if (Full()) return connection_->Check(query.Reset());
    }
    cursor->rows = rc == SQLITE_OK;
    return connection_->Check(rc);
  }

  int ReadRows(Table* table, const StateCursor& from) {
    int rc = KeyOrder(connection_, table, &rows_.chunk().order);
    if (rc == SQLITE_OK) rc = rows_.Begin(*table);
    if (rc != SQLITE_OK) return rc;
    const bool continues =
        from.order == rows_.chunk().order && CompareNames(from.table, table->name.span()) == 0;
    const Span after = continues ? from.after : Span{};
    rows_.chunk().after = after;
    read_.table = table->name.Copy();
    Statement rows;
    rc = PrepareRows(*table, after, &rows);
    if (rc != SQLITE_OK) return rc;
    StateCursor next{true, from.parked_after, table->name.span(), rows_.chunk().order, after};
    while ((rc = rows.Step()) == SQLITE_ROW) {
      rc = rows_.Add(*table, &rows);
      if (rc != SQLITE_OK) return rc;
      read_.rows++;
      next.after = rows_.key();
      if (!Full()) continue;
      rc = connection_->Check(rows.Reset());
      return rc == SQLITE_OK ? Finish(next) : rc;
    }
    if (rc != SQLITE_OK) return connection_->Check(rc);
    const Table* following = TableFrom(table->name.span(), true);
    rows_.chunk().flags = kStateTableEnds | (following == nullptr ? kStateEnds : 0);
    next = {true, from.parked_after, following == nullptr ? Span{} : following->name.span(), 0, {}};
    return Finish(next);
  }

  // Clocks in the order of keys, each with its row if that is shown.
  int PrepareRows(const Table& table, Span after, Statement* rows) {
    const Shape& shape = *table.shape;
    Text sql, names, marks;
    AppendClocksWithRows(&sql, table);
    for (size_t i = 0; i < shape.keys.size(); i++) {
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

  Connection* connection_;
  size_t bytes_max_;
  const Deadline& deadline_;
  StateRead& read_;
  StateRows rows_;
  Bytes parked_after_;
  uint64_t looks_ = 0;
};

}  // namespace

int KeyOrder(Connection* connection, Table* table, uint64_t* order) {
  int rc = connection->catalog.Check(connection, table);
  *order = table->key_order;
  if (rc != SQLITE_OK || *order != 0) return rc;
  TableInfo info;
  rc = DescribeTable(connection, table->name.c_str(), &info);
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
  *order = table->key_order = Hash64(text.span());
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
    const int result = FoldAndRetryParked(connection, deadline, &done);
    if (result != SQLITE_OK || !done) return read->more = true, result;
    return ChunkReader(connection, bytes_max, deadline, read).Run(from);
  });
  read->busy = stats.busy;
  if (stats.busy) read->chunk.Clear();
  return rc;
}

}  // namespace mergelite
