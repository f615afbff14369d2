#include "state_progress.h"

#include <algorithm>

#include "connection.h"

namespace mergelite {
namespace {

constexpr const char* kKey = "state";

int Damaged(Connection* connection) {
  return connection->Fail("FILE_DAMAGED", "the progress of a state transfer does not decode",
                          "Run `PRAGMA integrity_check`; restore the file from a backup.");
}

// A peer may have claimed less than this file has by now, and never lowers anything.
void Raise(Origin* origin, const StateOrigin& claimed) {
  if (claimed.sequence <= origin->merged) return;
  origin->merged = origin->folded = claimed.sequence;
  origin->absorbed = std::max(origin->absorbed, claimed.sequence);
  // Changesets that the log holds beyond this are merged from there.
  if (claimed.sequence > origin->held) {
    origin->held = claimed.sequence;
    origin->trimmed = claimed.sequence;
  }
  origin->timestamp = std::max(origin->timestamp, claimed.timestamp);
  origin->dirty = true;
}

}  // namespace

int ReadStateProgress(Connection* connection, StateProgress* progress) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db, "SELECT value FROM main._mergelite_meta WHERE key = ?1"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, kKey);
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  Reader in(query.ColumnBytes(0));
  const uint8_t format = in.Byte();
  progress->cursor.Clear();
  progress->cursor.Append(in.Take(in.Varint()));
  const bool vector = ReadStateVector(&in, &progress->vector);
  progress->rows = in.Varint();
  progress->exists = true;
  if (format != kStateFormat || !vector || !in.ok()) return Damaged(connection);
  return SQLITE_OK;
}

int SaveStateProgress(Connection* connection, const StateProgress& progress) {
  Bytes bytes;
  bytes.Byte(kStateFormat);
  bytes.Varint(progress.cursor.size());
  bytes.Append(progress.cursor.span());
  AppendStateVector(progress.vector, &bytes);
  bytes.Varint(progress.rows);
  Value value;
  value.type = Type::kBlob;
  value.content = bytes.span();
  return connection->log.SetMeta(connection, kKey, value);
}

int DropStateProgress(Connection* connection) {
  Statement statement;
  const int rc = connection->Check(statement.Prepare(
      connection->api, connection->db, "DELETE FROM main._mergelite_meta WHERE key = ?1"));
  if (rc != SQLITE_OK) return rc;
  statement.String(1, kKey);
  return connection->Check(statement.Run());
}

int StartState(Connection* connection, bool restart, StateProgress* progress) {
  MergeStats stats;
  int rc = InMergeTransaction(connection, &stats, false, [&] {
    int result = ReadStateProgress(connection, progress);
    if (result != SQLITE_OK) return result;
    StateCursor cursor;
    if (restart || !DecodeStateCursor(progress->cursor.span(), &cursor)) {
      cursor = {};
      progress->vector.clear();
      progress->rows = 0;
    }
    // Another peer has other patches parked.
    cursor.rows = false;
    cursor.parked_after = 0;
    Bytes bytes;
    EncodeStateCursor(cursor, &bytes);
    progress->cursor.Swap(bytes);
    progress->exists = true;
    return SaveStateProgress(connection, *progress);
  });
  if (rc == SQLITE_OK && stats.busy) progress->exists = false;
  return rc;
}

void IntersectVector(std::vector<StateOrigin>* common, const std::vector<StateOrigin>& vector) {
  if (common->empty()) {
    *common = vector;
    return;
  }
  for (StateOrigin& origin : *common) {
    // An empty entry stays: an empty vector would be that of no chunk yet.
    StateOrigin least{origin.peer, 0, 0};
    for (const StateOrigin& other : vector) {
      if (other.peer == origin.peer) least = other.sequence < origin.sequence ? other : origin;
    }
    origin = least;
  }
}

int ClaimVector(Connection* connection, const std::vector<StateOrigin>& vector) {
  Log& log = connection->log;
  for (const StateOrigin& claimed : vector) {
    if (claimed.sequence == 0) continue;
    Origin* origin = log.FindOrigin(claimed.peer);
    if (origin == nullptr) {
      const int rc = log.AddOrigin(connection, claimed.peer, &origin);
      if (rc != SQLITE_OK) return rc;
    }
    if (origin != log.self()) Raise(origin, claimed);
  }
  return SQLITE_OK;
}

}  // namespace mergelite
