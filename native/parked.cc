// Patches that cannot be shown yet. They wait in _mergelite_parked under their row's key, each with
// what it needs to be merged like any other when its time comes.
#include "parked.h"

#include "conflicts.h"
#include "connection.h"
#include "ledger.h"
#include "merge_scope.h"
#include "ranges.h"
#include "trim.h"
#include "violations.h"

namespace mergelite {

const char* const kReasonNames[kReasons] = {"row",    "table",    "column",     "key",
                                            "unique", "not-null", "constraint", "check"};

Reason ReasonOf(const char* name) {
  for (size_t i = 0; i < kReasons; i++) {
    if (SameName(kReasonNames[i], name)) return static_cast<Reason>(i);
  }
  return Reason::kRow;
}

namespace {

struct Waiting {
  int64_t id;
  uint64_t peer, sequence, timestamp;
  int64_t shape;
  Bytes patch;
  Text table;
  Bytes identity;
  Reason reason;
};

#define MERGELITE_WAITING "id, peer, sequence, timestamp, shape, patch, table_name, key, reason"

// Reads what the query selects, at most `limit` rows, with the patches copied: merging one may
// change the table it was read from.
int Collect(Connection* connection, Statement* query, size_t limit, std::vector<Waiting>* out) {
  int rc;
  while ((rc = query->Step()) == SQLITE_ROW) {
    Waiting waiting;
    waiting.id = query->ColumnInteger(0);
    waiting.peer = static_cast<uint64_t>(query->ColumnInteger(1));
    waiting.sequence = static_cast<uint64_t>(query->ColumnInteger(2));
    waiting.timestamp = static_cast<uint64_t>(query->ColumnInteger(3));
    waiting.shape = query->ColumnInteger(4);
    waiting.patch.Append(query->ColumnBytes(5));
    waiting.table << query->ColumnText(6);
    waiting.identity.Append(query->ColumnBytes(7));
    waiting.reason = ReasonOf(query->ColumnText(8));
    out->push_back(static_cast<Waiting&&>(waiting));
    if (out->size() == limit) return connection->Check(query->Reset());
  }
  return connection->Check(rc);
}

// `gone`: merging another one has taken it along. Its id may be another patch's by now.
int Unpark(Connection* connection, const Waiting& waiting, bool* gone) {
  MergeState& merge = *connection->merge;
  int rc = connection->Prepare(&merge.unpark,
                               "DELETE FROM main._mergelite_parked WHERE id = ?1 AND "
                               "table_name = ?2 AND key = ?3 AND reason = ?4 AND peer = ?5 AND "
                               "timestamp = ?6");
  if (rc == SQLITE_OK) {
    rc = merge.ledger().Touch(connection, waiting.table.c_str(), waiting.identity.span());
  }
  if (rc != SQLITE_OK) return rc;
  merge.unpark.Integer(1, waiting.id);
  merge.unpark.String(2, waiting.table.span());
  merge.unpark.Bytes(3, waiting.identity.span());
  merge.unpark.String(4, NameOf(waiting.reason));
  merge.unpark.Integer(5, static_cast<int64_t>(waiting.peer));
  merge.unpark.Integer(6, static_cast<int64_t>(waiting.timestamp));
  rc = connection->Check(merge.unpark.Run());
  *gone = connection->api->changes(connection->db) == 0;
  return rc;
}

int LastParked(Connection* connection, int64_t* id) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db, "SELECT coalesce(max(id), 0) FROM main._mergelite_parked"));
  if (rc != SQLITE_OK) return rc;
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  *id = query.ColumnInteger(0);
  return SQLITE_OK;
}

int MergeAgain(Connection* connection, const Waiting& waiting) {
  const Shape* shape;
  int rc = connection->catalog.FindShape(connection, static_cast<uint64_t>(waiting.shape), &shape);
  Origin* origin = connection->log.FindOrigin(waiting.peer);
  if (rc != SQLITE_OK || shape == nullptr || origin == nullptr) return rc;
  bool gone;
  rc = Unpark(connection, waiting, &gone);
  if (rc != SQLITE_OK || gone) return rc;
  Target* target;
  rc = ResolveTarget(connection, shape, &target);
  if (rc != SQLITE_OK) return rc;
  SinglePatch single(waiting.patch.span(), shape);
  Patch patch;
  if (!single.Read(&patch)) return SQLITE_OK;
  const Incoming incoming{origin, waiting.sequence, {waiting.timestamp, origin->ordinal}};
  rc = connection->merge->scope->BeforeWriting();
  if (rc != SQLITE_OK) return rc;
  if (waiting.reason == Reason::kCheck) {
    if (target->table == nullptr) return SQLITE_OK;
    AddDoubt(connection, incoming, target->table, waiting.identity.span(), patch.encoded_key);
    return SQLITE_OK;
  }
  const int64_t outer_id = connection->merge->again_id;
  connection->merge->again_id = waiting.id;
  rc = MergePatch(connection, incoming, target, patch);
  connection->merge->again_id = outer_id;
  // Its changeset was absorbed when it was parked, and may be trimmed: it is not read again.
  if (rc != SQLITE_OK || target->table == nullptr) return rc;
  return connection->merge->clocks.FoldRow(connection, target->table, waiting.identity.span(),
                                           patch.encoded_key);
}

}  // namespace

// A stored patch has the shape index of its changeset: here its shape is the only one.
SinglePatch::SinglePatch(Span bytes, const Shape* shape) {
  Reader head(bytes);
  const auto index = static_cast<size_t>(head.Varint() >> 2 & 0xffff);
  payload_.patch_count = 1;
  payload_.shape_hashes.assign(index + 1, shape->hash);
  payload_.patches = bytes;
  shapes_.assign(index + 1, shape);
  reader_ = std::make_unique<PatchReader>(payload_, shapes_.data());
}

// What is known stays right until another connection has written: this one only adds to it.
int LookForParked(Connection* connection) {
  MergeState& merge = *connection->merge;
  if (merge.parked_loads == connection->log.loads()) return SQLITE_OK;
  Statement query;
  int rc = connection->Prepare(
      &query,
      "SELECT EXISTS (SELECT 1 FROM main._mergelite_parked), EXISTS (SELECT 1 FROM "
      "main._mergelite_parked WHERE reason IN " MERGELITE_HELD ")");
  if (rc == SQLITE_OK) rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  merge.any_parked = query.ColumnInteger(0) != 0;
  merge.any_held = query.ColumnInteger(1) != 0;
  merge.parked_loads = connection->log.loads();
  return SQLITE_OK;
}

bool AnyParked(const Connection* connection) { return connection->merge->any_parked; }

bool AnyHeld(const Connection* connection) { return connection->merge->any_held; }

int Park(Connection* connection, const Incoming& incoming, const Shape& shape,
         const Parking& parking, Span patch) {
  MergeState& merge = *connection->merge;
  // Under the name the table has here, if it is known.
  Table* known = connection->catalog.FindReplicated(shape.table.c_str());
  const Text& name = known == nullptr ? shape.table : known->name;
  int rc = merge.ledger().Touch(connection, name.c_str(), parking.identity);
  if (rc == SQLITE_OK) {
    rc = connection->Prepare(&merge.park,
                             "INSERT INTO main._mergelite_parked (table_name, key, peer, sequence, "
                             "timestamp, reason, detail, shape, patch) VALUES (?1, ?2, ?3, ?4, ?5, "
                             "?6, ?7, ?8, ?9)");
  }
  if (rc != SQLITE_OK) return rc;
  merge.park.String(1, name.span());
  merge.park.Bytes(2, parking.identity);
  merge.park.Integer(3, static_cast<int64_t>(incoming.origin->peer));
  merge.park.Integer(4, static_cast<int64_t>(incoming.sequence));
  merge.park.Integer(5, static_cast<int64_t>(incoming.stamp.timestamp));
  merge.park.String(6, NameOf(parking.reason));
  // SQLite's message is overwritten by the next call; bind a copy.
  const Text detail(parking.detail);
  merge.park.String(7, detail.span());
  merge.park.Integer(8, static_cast<int64_t>(shape.hash));
  merge.park.Bytes(9, patch);
  merge.any_parked = true;
  if ((BitOf(parking.reason) & (kWithheldBits | BitOf(Reason::kCheck))) != 0) {
    merge.any_held = true;
  }
  if (known != nullptr && (BitOf(parking.reason) & kWithheldBits) != 0) {
    known->standoffs.Open(Clocks::Hashed(*known, parking.identity).hash, parking.identity);
  }
  if (parking.reason != Reason::kCheck) merge.stats->parked++;
  merge.stats->parked_by_reason[static_cast<size_t>(parking.reason)]++;
  return connection->Check(merge.park.Run());
}

int MergeParked(Connection* connection, Table* table, Span identity, const Stamp& since) {
  MergeState& merge = *connection->merge;
  int rc = connection->Prepare(
      &merge.parked_by_key, "SELECT " MERGELITE_WAITING
                            " FROM main._mergelite_parked WHERE table_name = ?1 AND key = ?2 AND "
                            "reason = 'row' ORDER BY timestamp, id");
  if (rc != SQLITE_OK) return rc;
  merge.parked_by_key.String(1, table->name.span());
  merge.parked_by_key.Bytes(2, identity);
  std::vector<Waiting> waiting;
  rc = Collect(connection, &merge.parked_by_key, SIZE_MAX, &waiting);
  for (size_t i = 0; rc == SQLITE_OK && i < waiting.size(); i++) {
    const Waiting& one = waiting[i];
    // What is not newer than the insert is void, also an earlier patch of its own changeset.
    const bool newer = one.timestamp != since.timestamp
                           ? one.timestamp > since.timestamp
                           : one.peer > connection->log.peers().Of(since.origin);
    bool gone;
    rc = newer ? MergeAgain(connection, one) : Unpark(connection, one, &gone);
  }
  return rc;
}

int UnparkWithheld(Connection* connection, const Table& table, Span identity) {
  MergeState& merge = *connection->merge;
  int rc = merge.ledger().Touch(connection, table.name.c_str(), identity);
  if (rc == SQLITE_OK) {
    rc = connection->Prepare(&merge.unpark_withheld,
                             "DELETE FROM main._mergelite_parked WHERE table_name = ?1 AND key = "
                             "?2 AND reason IN " MERGELITE_WITHHELD);
  }
  if (rc != SQLITE_OK) return rc;
  merge.unpark_withheld.String(1, table.name.span());
  merge.unpark_withheld.Bytes(2, identity);
  rc = connection->Check(merge.unpark_withheld.Run());
  return rc == SQLITE_OK ? TouchAllRanges(connection, table) : rc;
}

int ChangeReason(Connection* connection, const Table& table, const Parking& parking) {
  int rc = connection->merge->ledger().Touch(connection, table.name.c_str(), parking.identity);
  if (rc != SQLITE_OK) return rc;
  Statement statement;
  rc = connection->Check(statement.Prepare(
      connection->api, connection->db,
      "UPDATE main._mergelite_parked SET reason = ?3, detail = ?4 WHERE table_name = ?1 AND key = "
      "?2 AND reason IN " MERGELITE_WITHHELD));
  if (rc != SQLITE_OK) return rc;
  statement.String(1, table.name.span());
  statement.Bytes(2, parking.identity);
  statement.String(3, NameOf(parking.reason));
  statement.String(4, parking.detail);
  return connection->Check(statement.Run());
}

// What waits for a table with another key may look like this row, and be another.
int DropParkedBefore(Connection* connection, const Table& table, Span identity, const Stamp& stamp,
                     bool inclusive) {
  MergeState& merge = *connection->merge;
  int rc = connection->Prepare(&merge.drop_older,
                               "DELETE FROM main._mergelite_parked WHERE table_name = ?1 AND key "
                               "= ?2 AND ((timestamp, peer) < (?3, ?4) OR (id < ?5 AND "
                               "(timestamp, peer) = (?3, ?4))) AND reason NOT IN ('check', "
                               "'table') RETURNING reason");
  if (rc != SQLITE_OK) return rc;
  merge.drop_older.String(1, table.name.span());
  merge.drop_older.Bytes(2, identity);
  merge.drop_older.Integer(3, static_cast<int64_t>(stamp.timestamp));
  merge.drop_older.Integer(4, static_cast<int64_t>(connection->log.peers().Of(stamp.origin)));
  merge.drop_older.Integer(5, inclusive ? merge.again_id : INT64_MIN);
  uint8_t gone = 0;
  while ((rc = merge.drop_older.Step()) == SQLITE_ROW) {
    gone |= BitOf(ReasonOf(merge.drop_older.ColumnText(0)));
  }
  if (rc != SQLITE_OK || gone == 0) return connection->Check(rc);
  return merge.ledger().Touch(connection, table.name.c_str(), identity, gone);
}

int IsParkedSince(Connection* connection, const Table& table, Span identity,
                  const ColumnSince& since, bool* is_parked) {
  *is_parked = false;
  int rc = LookForParked(connection);
  if (rc != SQLITE_OK || !AnyParked(connection)) return rc;
  Statement query;
  rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT shape, patch FROM main._mergelite_parked WHERE table_name = ?1 AND key = ?2 AND "
      "reason = 'column' AND (timestamp, peer) >= (?3, ?4)"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, table.name.span());
  query.Bytes(2, identity);
  query.Integer(3, static_cast<int64_t>(since.stamp.timestamp));
  query.Integer(4, static_cast<int64_t>(connection->log.peers().Of(since.stamp.origin)));
  while ((rc = query.Step()) == SQLITE_ROW) {
    const Shape* shape;
    rc = connection->catalog.FindShape(connection, static_cast<uint64_t>(query.ColumnInteger(0)),
                                       &shape);
    if (rc != SQLITE_OK) return rc;
    if (shape == nullptr) continue;
    SinglePatch single(query.ColumnBytes(1), shape);
    Patch patch;
    if (!single.Read(&patch)) continue;
    for (size_t i = 0; i < shape->columns.size(); i++) {
      if (table.FindColumn(shape->columns[i].c_str()) != static_cast<int>(since.column)) continue;
      if (patch.Sets(i)) return *is_parked = true, SQLITE_OK;
    }
  }
  return connection->Check(rc);
}

int RetryParked(Connection* connection, const Deadline& deadline, bool* done) {
  *done = true;
  MergeState& merge = *connection->merge;
  if (!AnyParked(connection)) return SQLITE_OK;
  if (merge.retried_version == connection->catalog.schema_version()) return SQLITE_OK;
  // New tables, columns and constraints come with a new schema; until the next one there is nothing
  // to try again. What waits for its row goes on waiting, but its row clock learns of new columns.
  int rc = connection->Prepare(
      &merge.parked_known,
      "SELECT " MERGELITE_WAITING
      " FROM main._mergelite_parked AS parked WHERE id > ?1 AND id <= ?2 AND reason IN ('table', "
      "'column', 'key', 'check', 'row') AND EXISTS (SELECT 1 FROM "
      "main._mergelite_tables AS t WHERE t.name = parked.table_name AND t.active) ORDER BY id");
  if (rc != SQLITE_OK) return rc;
  if (merge.retried_id == 0) {
    rc = LastParked(connection, &merge.retried_last);
    if (rc != SQLITE_OK) return rc;
    for (const auto& table : connection->catalog.tables()) {
      table->settle = true;
      table->standoffs.Forget();
    }
  }
  constexpr size_t kBatch = 64;
  for (;;) {
    merge.parked_known.Integer(1, merge.retried_id);
    merge.parked_known.Integer(2, merge.retried_last);
    std::vector<Waiting> waiting;
    rc = Collect(connection, &merge.parked_known, kBatch, &waiting);
    if (rc != SQLITE_OK) return rc;
    for (const Waiting& one : waiting) {
      merge.retried_id = one.id;
      rc = MergeAgain(connection, one);
      if (rc != SQLITE_OK) return rc;
    }
    if (waiting.size() < kBatch) {
      merge.retried_version = connection->catalog.schema_version();
      merge.retried_id = 0;
      return SQLITE_OK;
    }
    if (deadline.Passed()) return *done = false, SQLITE_OK;
  }
}

int FoldAndRetryParked(Connection* connection, const Deadline& deadline, bool* done) {
  int rc = FoldAll(connection, deadline, done);
  if (rc == SQLITE_OK && *done) rc = RetryParked(connection, deadline, done);
  if (rc == SQLITE_OK && *done) rc = FoldAll(connection, deadline, done);
  return rc;
}

int RetryConflict(Connection* connection, int64_t id, MergeStats* stats) {
  return SettleInMergeTransaction(connection, stats, [&] {
    const Deadline never(connection, 1e15);
    int rc = SQLITE_OK;
    for (bool folded = false; rc == SQLITE_OK && !folded;) rc = FoldAll(connection, never, &folded);
    if (rc != SQLITE_OK) return rc;
    Statement query;
    rc = connection->Check(query.Prepare(connection->api, connection->db,
                                         "SELECT " MERGELITE_WAITING
                                         " FROM main._mergelite_parked WHERE id = ?1"));
    if (rc != SQLITE_OK) return rc;
    query.Integer(1, id);
    std::vector<Waiting> waiting;
    rc = Collect(connection, &query, 1, &waiting);
    if (rc != SQLITE_OK || waiting.empty()) return rc;
    const Waiting& one = waiting[0];
    if ((BitOf(one.reason) & kWithheldBits) == 0) return MergeAgain(connection, one);
    Table* table = connection->catalog.FindTable(one.table.c_str());
    if (table == nullptr || !table->active) return SQLITE_OK;
    table->settle = true;
    table->standoffs.Forget();
    return connection->catalog.Check(connection, table);
  });
}

}  // namespace mergelite
