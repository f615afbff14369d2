#include "reissue.h"

#include "changeset.h"
#include "connection.h"
#include "old_values.h"
#include "table_sql.h"

namespace mergelite {
namespace {

struct Former {
  uint64_t peer = 0;
  Ordinal ordinal = 0;
  uint64_t held = 0;
  uint64_t trimmed = 0;
};

// The end of the last whole transaction up to `after`: a transaction in parts is moved whole.
int EndOfTransaction(Connection* connection, const Former& former, uint64_t* after) {
  if (*after <= former.trimmed) {
    *after = former.trimmed;
    return SQLITE_OK;
  }
  Statement query;
  // The second byte of a payload tells whether the transaction goes on.
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT id FROM main._mergelite_log WHERE id > ?1 AND id <= ?2 AND substr(payload, 2, 1) = "
      "x'00' ORDER BY id DESC LIMIT 1"));
  if (rc != SQLITE_OK) return rc;
  query.Integer(1, LogBase(former.ordinal) + static_cast<int64_t>(former.trimmed));
  query.Integer(2, LogBase(former.ordinal) + static_cast<int64_t>(*after));
  rc = query.Step();
  *after = rc == SQLITE_ROW ? SequenceOf(query.ColumnInteger(0)) : former.trimmed;
  if (rc == SQLITE_ROW) rc = query.Reset();
  return connection->Check(rc);
}

// What is withheld of them tells its origin, as everywhere else; most of it knows no sequence.
int MoveParked(Connection* connection, const Former& former, int64_t moved) {
  Statement move;
  const int rc = connection->Check(
      move.Prepare(connection->api, connection->db,
                   "UPDATE main._mergelite_parked SET peer = ?1, sequence = max(sequence - ?3, 0) "
                   "WHERE peer = ?2 AND timestamp IN (SELECT timestamp FROM main._mergelite_log "
                   "WHERE id > ?4 AND id <= ?5)"));
  if (rc != SQLITE_OK) return rc;
  const Origin& self = *connection->log.self();
  const int64_t base = LogBase(self.ordinal);
  move.Integer(1, static_cast<int64_t>(self.peer));
  move.Integer(2, static_cast<int64_t>(former.peer));
  move.Integer(3, moved);
  move.Integer(4, base);
  move.Integer(5, base + static_cast<int64_t>(former.held) - moved);
  return connection->Check(move.Run());
}

// In clock tables their stamps name the former id, as far as they are folded: joined with those of
// the present one the larger would win here, and the present one everywhere else.
class Restamper {
 public:
  Restamper(Connection* connection, Ordinal former)
      : connection_(connection), former_(former), present_(connection->log.self()->ordinal) {}

  int Take(const Record& record) {
    Changeset changeset;
    const int rc = ReadMerged(connection_, record, &changeset);
    if (rc != SQLITE_OK || changeset.targets.empty()) return rc;
    PatchReader reader(changeset.payload, changeset.shapes.data());
    Patch patch;
    while (reader.Next(&patch)) {
      Table* table = changeset.targets[patch.shape_index]->table;
      if (table == nullptr || !table->active || !KeyFits(*table, patch)) continue;
      const int restamped = Row(table, patch, record.timestamp);
      if (restamped != SQLITE_OK) return restamped;
    }
    return SQLITE_OK;
  }

 private:
  int Row(Table* table, const Patch& patch, uint64_t timestamp) {
    int rc = table == table_ ? SQLITE_OK : Prepare(table);
    if (rc != SQLITE_OK) return rc;
    const size_t keys = table->shape->keys.size();
    BindKey(&read_, patch.key, keys);
    rc = read_.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    RowClock clock;
    const bool stamped = clock.Decode(read_.ColumnBytes(0)) && Replace(&clock, timestamp);
    rc = connection_->Check(read_.Reset());
    if (rc != SQLITE_OK || !stamped) return rc;
    Bytes encoded;
    clock.Encode(&encoded);
    BindKey(&write_, patch.key, keys);
    write_.Bytes(static_cast<int>(keys) + 1, encoded.span());
    return connection_->Check(write_.Run());
  }

  bool Replace(RowClock* clock, uint64_t timestamp) const {
    const Stamp former{timestamp, former_};
    bool found = false;
    const auto take = [&](Stamp* stamp) {
      if (!(*stamp == former)) return;
      stamp->origin = present_;
      found = true;
    };
    if (clock->has_life) take(&clock->life);
    for (Override& entry : clock->overrides) take(&entry.stamp);
    return found;
  }

  int Prepare(Table* table) {
    int rc = connection_->catalog.Check(connection_, table);
    if (rc != SQLITE_OK) return rc;
    Text read("SELECT _mergelite_clock FROM "), write("UPDATE ");
    AppendClockName(&read, *table);
    AppendClockName(&write, *table);
    write << " SET _mergelite_clock = ?" << (table->shape->keys.size() + 1);
    AppendKeyCondition(&(read << " WHERE "), *table->shape);
    AppendKeyCondition(&(write << " WHERE "), *table->shape);
    table_ = table;
    rc = connection_->Check(read_.Prepare(connection_->api, connection_->db, read.c_str()));
    if (rc != SQLITE_OK) return rc;
    return connection_->Check(write_.Prepare(connection_->api, connection_->db, write.c_str()));
  }

  Connection* connection_;
  const Ordinal former_, present_;
  Table* table_ = nullptr;
  Statement read_, write_;
};

// Those that have the present id now.
int Restamp(Connection* connection, const Former& former) {
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = connection->log.Refresh(connection);
  if (rc != SQLITE_OK) return rc;
  connection->merge->clocks.EndLookUps(connection);
  Restamper restamper(connection, former.ordinal);
  int failure = SQLITE_OK;
  rc = connection->log.ForEach(connection, *connection->log.self(), 0, kSequenceMax,
                               [&](const Record& record) {
                                 failure = restamper.Take(record);
                                 return failure == SQLITE_OK;
                               });
  return failure != SQLITE_OK ? failure : connection->Check(rc);
}

// Gives the changesets of the former id above `after` to the present one, in their order.
int MoveChangesets(Connection* connection, const Former& former, uint64_t after) {
  int rc = EndOfTransaction(connection, former, &after);
  if (rc != SQLITE_OK) return rc;
  const auto moved = static_cast<int64_t>(after);
  const int64_t base = LogBase(former.ordinal);
  Statement marks;
  // The timestamp is that of the newest changeset left, or at least below the first one moved.
  rc = connection->Check(marks.Prepare(
      connection->api, connection->db,
      "UPDATE main._mergelite_origins SET held = ?2, merged = ?2, folded = min(folded, ?2), "
      "acknowledged = min(acknowledged, ?2), timestamp = coalesce((SELECT timestamp FROM "
      "main._mergelite_log WHERE id = ?3), (SELECT timestamp - 1 FROM main._mergelite_log WHERE id "
      "> ?3 ORDER BY id LIMIT 1), 0) WHERE ordinal = ?1"));
  if (rc != SQLITE_OK) return rc;
  marks.Integer(1, former.ordinal);
  marks.Integer(2, moved);
  marks.Integer(3, base + moved);
  rc = connection->Check(marks.Run());
  if (rc != SQLITE_OK) return rc;
  Statement move;
  rc = connection->Check(move.Prepare(connection->api, connection->db,
                                      "UPDATE main._mergelite_log SET id = id + ?1 WHERE id > ?2 "
                                      "AND id <= ?3"));
  if (rc != SQLITE_OK) return rc;
  const int64_t by = LogBase(connection->log.self()->ordinal) - base - moved;
  move.Integer(1, by);
  move.Integer(2, base + moved);
  move.Integer(3, base + static_cast<int64_t>(former.held));
  rc = connection->Check(move.Run());
  if (rc == SQLITE_OK) rc = MoveParked(connection, former, moved);
  if (rc != SQLITE_OK) return rc;
  rc = MoveOldValues(connection, base + moved, base + static_cast<int64_t>(former.held), by);
  return rc == SQLITE_OK ? Restamp(connection, former) : rc;
}

}  // namespace

int RenewIdentity(Connection* connection) { return ReissueChangesets(connection, kSequenceMax); }

int ReissueChangesets(Connection* connection, uint64_t after) {
  if (connection->InTransaction()) {
    return connection->Fail("IN_TRANSACTION",
                            "a new peer id needs to be taken outside a transaction",
                            "Commit or roll back first.");
  }
  Log& log = connection->log;
  {
    Transaction transaction(connection);
    int rc = transaction.Begin();
    if (rc == SQLITE_OK) rc = log.Refresh(connection);
    Former former;
    if (rc == SQLITE_OK) {
      const Origin& self = *log.self();
      former = {self.peer, self.ordinal, self.held, self.trimmed};
    }
    const bool moves = after < former.held;
    if (rc == SQLITE_OK) rc = log.RenewIdentity(connection);
    if (rc == SQLITE_OK && moves) rc = log.Refresh(connection);
    if (rc == SQLITE_OK && moves) rc = MoveChangesets(connection, former, after);
    if (rc == SQLITE_OK) rc = transaction.Commit();
    log.Invalidate();
    if (rc != SQLITE_OK) return rc;
  }
  // From here on row clocks in memory, which carry the marks of the former id, are doubted.
  return log.Refresh(connection);
}

}  // namespace mergelite
