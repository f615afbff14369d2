// Patches that cannot be shown yet. They wait in _mergelite_parked under their row's key, each with
// what it needs to be merged like any other when its time comes.
#include "connection.h"
#include "merge.h"
#include "merge_scope.h"

namespace mergelite {
namespace {

struct Waiting {
  int64_t id;
  uint64_t peer, sequence, timestamp;
  int64_t shape;
  Bytes patch;
};

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
    out->push_back(static_cast<Waiting&&>(waiting));
    if (out->size() == limit) return connection->Check(query->Reset());
  }
  return connection->Check(rc);
}

int Unpark(Connection* connection, int64_t id) {
  MergeState& merge = *connection->merge;
  const int rc =
      connection->Prepare(&merge.unpark, "DELETE FROM main._mergelite_parked WHERE id = ?1");
  if (rc != SQLITE_OK) return rc;
  merge.unpark.Integer(1, id);
  return connection->Check(merge.unpark.Run());
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
  int rc = Unpark(connection, waiting.id);
  if (rc != SQLITE_OK) return rc;
  const Shape* shape;
  rc = connection->catalog.FindShape(connection, static_cast<uint64_t>(waiting.shape), &shape);
  Origin* origin = connection->log.FindOrigin(waiting.peer);
  if (rc != SQLITE_OK || shape == nullptr || origin == nullptr) return rc;
  Target* target;
  rc = ResolveTarget(connection, shape, &target);
  if (rc != SQLITE_OK) return rc;
  SinglePatch single(waiting.patch.span(), shape);
  Patch patch;
  if (!single.Read(&patch)) return SQLITE_OK;
  const Incoming incoming{origin, waiting.sequence, {waiting.timestamp, origin->ordinal}};
  rc = connection->merge->scope->BeforeWriting();
  if (rc != SQLITE_OK) return rc;
  return MergePatch(connection, incoming, target, patch);
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

bool AnyParked(Connection* connection) {
  MergeState& merge = *connection->merge;
  if (merge.any_parked >= 0 && merge.parked_loads == connection->log.loads()) {
    return merge.any_parked != 0;
  }
  Statement query;
  if (query.Prepare(connection->api, connection->db,
                    "SELECT EXISTS (SELECT 1 FROM main._mergelite_parked)") != SQLITE_OK ||
      query.Step() != SQLITE_ROW) {
    return true;
  }
  merge.any_parked = query.ColumnInteger(0) != 0 ? 1 : 0;
  merge.parked_loads = connection->log.loads();
  return merge.any_parked != 0;
}

int Park(Connection* connection, const Incoming& incoming, const Shape& shape, Span identity,
         const char* reason, const char* detail, Span patch) {
  MergeState& merge = *connection->merge;
  int rc = connection->Prepare(&merge.park,
                               "INSERT INTO main._mergelite_parked (table_name, key, peer, "
                               "sequence, timestamp, reason, detail, shape, patch) VALUES (?1, "
                               "?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
  if (rc != SQLITE_OK) return rc;
  merge.park.String(1, shape.table.span());
  merge.park.Bytes(2, identity);
  merge.park.Integer(3, static_cast<int64_t>(incoming.origin->peer));
  merge.park.Integer(4, static_cast<int64_t>(incoming.sequence));
  merge.park.Integer(5, static_cast<int64_t>(incoming.stamp.timestamp));
  merge.park.String(6, reason);
  // SQLite's message is overwritten by the next call; bind a copy.
  const Text copy(detail);
  merge.park.String(7, copy.span());
  merge.park.Integer(8, static_cast<int64_t>(shape.hash));
  merge.park.Bytes(9, patch);
  merge.any_parked = 1;
  merge.stats->parked++;
  return connection->Check(merge.park.Run());
}

int MergeParked(Connection* connection, Table* table, Span identity, const Stamp& since) {
  MergeState& merge = *connection->merge;
  int rc = connection->Prepare(&merge.parked_by_key,
                               "SELECT id, peer, sequence, timestamp, shape, patch FROM "
                               "main._mergelite_parked WHERE table_name = ?1 AND key = ?2 AND "
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
    rc = newer ? MergeAgain(connection, one) : Unpark(connection, one.id);
  }
  return rc;
}

int UnparkWithheld(Connection* connection, const Table& table, Span identity) {
  MergeState& merge = *connection->merge;
  const int rc = connection->Prepare(&merge.unpark_unique,
                                     "DELETE FROM main._mergelite_parked WHERE table_name = ?1 "
                                     "AND key = ?2 AND reason = 'unique'");
  if (rc != SQLITE_OK) return rc;
  merge.unpark_unique.String(1, table.name.span());
  merge.unpark_unique.Bytes(2, identity);
  return connection->Check(merge.unpark_unique.Run());
}

int ReleaseWithheld(Connection* connection, const Table& table, Span identity) {
  Statement statement;
  const int rc = connection->Check(statement.Prepare(
      connection->api, connection->db,
      "UPDATE main._mergelite_parked SET reason = 'row' WHERE table_name = ?1 AND key = ?2 AND "
      "reason = 'unique'"));
  if (rc != SQLITE_OK) return rc;
  statement.String(1, table.name.span());
  statement.Bytes(2, identity);
  return connection->Check(statement.Run());
}

int DropParkedBefore(Connection* connection, const Table& table, Span identity, const Stamp& stamp,
                     bool inclusive) {
  MergeState& merge = *connection->merge;
  int rc = connection->Prepare(&merge.drop_older,
                               "DELETE FROM main._mergelite_parked WHERE table_name = ?1 AND key "
                               "= ?2 AND ((timestamp, peer) < (?3, ?4) OR (?5 AND (timestamp, "
                               "peer) = (?3, ?4)))");
  if (rc != SQLITE_OK) return rc;
  merge.drop_older.String(1, table.name.span());
  merge.drop_older.Bytes(2, identity);
  merge.drop_older.Integer(3, static_cast<int64_t>(stamp.timestamp));
  merge.drop_older.Integer(4, static_cast<int64_t>(connection->log.peers().Of(stamp.origin)));
  merge.drop_older.Integer(5, inclusive ? 1 : 0);
  return connection->Check(merge.drop_older.Run());
}

int RetryParked(Connection* connection, const Deadline& deadline, bool* done) {
  *done = true;
  MergeState& merge = *connection->merge;
  if (!AnyParked(connection)) return SQLITE_OK;
  if (merge.retried_version == connection->catalog.schema_version()) return SQLITE_OK;
  // New tables and columns come with a new schema; until the next one there is nothing to retry.
  int rc = connection->Prepare(
      &merge.parked_known,
      "SELECT id, peer, sequence, timestamp, shape, patch FROM main._mergelite_parked AS parked "
      "WHERE id > ?1 AND id <= ?2 AND reason IN ('table', 'column') AND EXISTS (SELECT 1 FROM "
      "main._mergelite_tables AS t WHERE t.name = parked.table_name AND t.active) ORDER BY id");
  if (rc != SQLITE_OK) return rc;
  if (merge.retried_id == 0) {
    rc = LastParked(connection, &merge.retried_last);
    if (rc != SQLITE_OK) return rc;
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

}  // namespace mergelite
