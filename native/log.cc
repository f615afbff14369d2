#include "log.h"

#include "connection.h"
#include "merge.h"

namespace mergelite {
namespace {

constexpr const char* kSchema = R"(
CREATE TABLE IF NOT EXISTS main._mergelite_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS main._mergelite_origins (
  ordinal INTEGER PRIMARY KEY, peer INTEGER NOT NULL UNIQUE, held INTEGER NOT NULL DEFAULT 0,
  merged INTEGER NOT NULL DEFAULT 0, timestamp INTEGER NOT NULL DEFAULT 0,
  folded INTEGER NOT NULL DEFAULT 0, trimmed INTEGER NOT NULL DEFAULT 0,
  acknowledged INTEGER NOT NULL DEFAULT 0, reached INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS main._mergelite_log (
  id INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS main._mergelite_old (id INTEGER PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS main._mergelite_shapes (
  id INTEGER PRIMARY KEY, hash INTEGER NOT NULL UNIQUE, descriptor BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS main._mergelite_tables (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, shape_id INTEGER NOT NULL,
  active INTEGER NOT NULL, old_values INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS main._mergelite_columns (
  table_id INTEGER NOT NULL, name TEXT NOT NULL COLLATE NOCASE, id INTEGER NOT NULL,
  PRIMARY KEY (table_id, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS main._mergelite_aliases (
  name TEXT PRIMARY KEY COLLATE NOCASE, table_id INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS main._mergelite_migrations (
  version INTEGER PRIMARY KEY, up TEXT NOT NULL, down TEXT, applied INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS main._mergelite_parked (
  id INTEGER PRIMARY KEY, table_name TEXT NOT NULL COLLATE NOCASE, key BLOB NOT NULL,
  peer INTEGER NOT NULL, sequence INTEGER NOT NULL, timestamp INTEGER NOT NULL,
  reason TEXT NOT NULL, detail TEXT, shape INTEGER NOT NULL, patch BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS main._mergelite_parked_key ON _mergelite_parked (table_name, key);
CREATE TABLE IF NOT EXISTS main._mergelite_peers (peer INTEGER PRIMARY KEY,
  vector BLOB NOT NULL, heard INTEGER NOT NULL, forgotten INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS main._mergelite_refused (
  peer INTEGER NOT NULL, sequence INTEGER NOT NULL, timestamp INTEGER NOT NULL,
  reason TEXT NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (peer, sequence)) WITHOUT ROWID;
)";

constexpr uint64_t kPeerIdMask = (uint64_t{1} << 53) - 1;

uint64_t RandomPeerId(Connection* connection) {
  uint64_t id = 0;
  while (id == 0) id = connection->Randomness() & kPeerIdMask;
  return id;
}

}  // namespace

int Log::CreateTables(Connection* connection) {
  int rc = connection->Execute(kSchema);
  if (rc != SQLITE_OK) return rc;
  int64_t self = 0;
  rc = MetaInteger(connection, "self", &self);
  if (rc != SQLITE_OK || self != 0) return rc;
  Value value;
  value.type = Type::kInteger;
  value.integer = 1;
  rc = SetMeta(connection, "format", value);
  if (rc != SQLITE_OK) return rc;
  value.integer = static_cast<int64_t>(connection->Randomness() & 0xffffffffff) | 1;
  rc = SetMeta(connection, "tag", value);
  if (rc != SQLITE_OK) return rc;
  return RenewIdentity(connection);
}

int Log::RenewIdentity(Connection* connection) {
  // Own ordinals are odd: 1, 3, 5 ...
  Statement insert;
  int rc = connection->Check(
      insert.Prepare(connection->api, connection->db,
                     "INSERT INTO main._mergelite_origins (ordinal, peer, timestamp) SELECT "
                     "coalesce(max(ordinal) FILTER (WHERE ordinal % 2 = 1), -1) + 2, ?1, "
                     "max(?2, coalesce(max(timestamp), 0)) FROM main._mergelite_origins RETURNING "
                     "ordinal"));
  if (rc != SQLITE_OK) return rc;
  // What the old id wrote stays: its marks in the table are only as new as the last fold.
  if (self_ != nullptr && valid_) {
    // From here on its timestamp is, as any origin's, that of its newest changeset.
    rc = ReadTail(connection);
    if (rc == SQLITE_ROW) {
      self_->timestamp = static_cast<uint64_t>(tail_.ColumnInteger(1));
      rc = tail_.Reset();
    }
    self_->dirty = true;
    if (rc == SQLITE_OK) rc = SaveOrigins(connection);
    if (rc != SQLITE_OK) return rc;
  }
  insert.Integer(1, static_cast<int64_t>(RandomPeerId(connection)));
  insert.Integer(2, static_cast<int64_t>(newest_timestamp_));
  rc = insert.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  Value value;
  value.type = Type::kInteger;
  value.integer = insert.ColumnInteger(0);
  rc = connection->Check(insert.Reset());
  if (rc == SQLITE_OK) rc = SetMeta(connection, "self", value);
  valid_ = false;
  return rc;
}

int Log::LoadOrigins(Connection* connection) {
  int rc = connection->Prepare(
      &load_origins_,
      "SELECT ordinal, peer, held, merged, timestamp, folded, trimmed, acknowledged, reached "
      "FROM main._mergelite_origins");
  if (rc != SQLITE_OK) return rc;
  loaded_.clear();
  while ((rc = load_origins_.Step()) == SQLITE_ROW) {
    const auto peer = static_cast<uint64_t>(load_origins_.ColumnInteger(1));
    Origin* origin = FindOrigin(peer);
    if (origin == nullptr) {
      origins_.push_back(std::make_unique<Origin>());
      origin = origins_.back().get();
      origin->peer = peer;
    }
    origin->ordinal = static_cast<Ordinal>(load_origins_.ColumnInteger(0));
    origin->held = static_cast<uint64_t>(load_origins_.ColumnInteger(2));
    origin->merged = static_cast<uint64_t>(load_origins_.ColumnInteger(3));
    origin->timestamp = static_cast<uint64_t>(load_origins_.ColumnInteger(4));
    origin->folded = static_cast<uint64_t>(load_origins_.ColumnInteger(5));
    origin->trimmed = static_cast<uint64_t>(load_origins_.ColumnInteger(6));
    origin->acknowledged = static_cast<uint64_t>(load_origins_.ColumnInteger(7));
    origin->reached = static_cast<uint64_t>(load_origins_.ColumnInteger(8));
    if (origin->absorbed < origin->folded) PassAbsorbed(connection, origin);
    origin->dirty = false;
    if (loaded_.size() <= origin->ordinal) loaded_.resize(origin->ordinal + 1, 0);
    loaded_[origin->ordinal] = peer;
    if (peers_.by_ordinal.size() <= origin->ordinal) {
      peers_.by_ordinal.resize(origin->ordinal + 1, 0);
    }
    peers_.by_ordinal[origin->ordinal] = peer;
    Observe(origin->timestamp);
  }
  if (rc != SQLITE_OK) return connection->Check(rc);
  // Whoever wrote since may have folded: what is absorbed here may now be in the clock tables only.
  for (const auto& table : connection->catalog.tables()) table->clocks_empty = false;
  rc = LoadSelf(connection);
  if (rc == SQLITE_OK) DropVanished(connection);
  return rc;
}

// Another connection has folded what was not read yet: it may be the rest of a transaction of which
// memory has the first parts. These have one stamp, so the later of them would not win.
void Log::PassAbsorbed(Connection* connection, Origin* origin) {
  origin->absorbed = origin->folded;
  if (connection->merge != nullptr && !connection->merge->clocks.empty()) {
    connection->merge->clocks.Doubt();
  }
}

// Another connection has moved changesets to another id, or given them up: what memory knows of
// row clocks from them is read from the log again.
void Log::DropVanished(Connection* connection) {
  bool any = false;
  for (auto& origin : origins_) {
    if (origin->absorbed <= origin->merged) continue;
    origin->absorbed = origin->merged;
    any = true;
  }
  if (any && connection->merge != nullptr) connection->merge->clocks.Doubt();
}

// A commit writes one row, that of the log; so the log's tail tells this peer's own sequence.
int Log::LoadSelf(Connection* connection) {
  int64_t ordinal = 0;
  int rc = MetaInteger(connection, "self", &ordinal);
  if (rc != SQLITE_OK) return rc;
  const Origin* known = self_;
  self_ = nullptr;
  for (auto& origin : origins_) {
    if (origin->ordinal == static_cast<Ordinal>(ordinal)) self_ = origin.get();
  }
  // Under the former id there may be others' changesets by now, as many as memory knows of it.
  if (known != nullptr && known != self_ && connection->merge != nullptr) {
    connection->merge->clocks.Doubt();
  }
  if (self_ == nullptr) {
    return connection->Fail("FILE_DAMAGED", "_mergelite_meta names a peer that is not there",
                            "Restore the file from a backup, or run `mergelite detach`.");
  }
  int64_t swept;
  rc = MetaInteger(connection, "swept", &swept);
  if (rc != SQLITE_OK) return rc;
  swept_ = static_cast<uint64_t>(swept);
  rc = ReadTail(connection);
  if (rc == SQLITE_ROW) {
    self_->held = SequenceOf(tail_.ColumnInteger(0));
    Observe(static_cast<uint64_t>(tail_.ColumnInteger(1)));
    rc = tail_.Reset();
  }
  self_->merged = self_->held;
  if (self_->timestamp < newest_timestamp_) self_->timestamp = newest_timestamp_;
  return connection->Check(rc);
}

int Log::ReadTail(Connection* connection) {
  const int rc =
      connection->Prepare(&tail_,
                          "SELECT id, timestamp FROM main._mergelite_log WHERE id > ?1 AND id < "
                          "?2 ORDER BY id DESC LIMIT 1");
  if (rc != SQLITE_OK) return rc;
  tail_.Integer(1, LogBase(self_->ordinal));
  tail_.Integer(2, LogBase(self_->ordinal) + static_cast<int64_t>(kSequenceMax));
  return connection->Check(tail_.Step());
}

Origin* Log::FindOrigin(uint64_t peer) {
  for (auto& origin : origins_) {
    if (origin->peer == peer) return origin.get();
  }
  return nullptr;
}

int Log::AddOrigin(Connection* connection, uint64_t peer, Origin** origin) {
  Statement insert;
  int rc = connection->Check(insert.Prepare(
      connection->api, connection->db,
      "INSERT INTO main._mergelite_origins (ordinal, peer) SELECT coalesce(max(ordinal) FILTER "
      "(WHERE ordinal % 2 = 0), 0) + 2, ?1 FROM main._mergelite_origins RETURNING ordinal"));
  if (rc != SQLITE_OK) return rc;
  insert.Integer(1, static_cast<int64_t>(peer));
  rc = insert.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  const auto ordinal = static_cast<Ordinal>(insert.ColumnInteger(0));
  rc = connection->Check(insert.Reset());
  if (rc != SQLITE_OK) return rc;
  if (ordinal > kOrdinalMax) {
    return connection->Fail("TOO_MANY_ORIGINS", "this file has seen two million peers",
                            "Start a new file from a snapshot.");
  }
  origins_.push_back(std::make_unique<Origin>());
  *origin = origins_.back().get();
  (*origin)->ordinal = ordinal;
  (*origin)->peer = peer;
  if (peers_.by_ordinal.size() <= ordinal) peers_.by_ordinal.resize(ordinal + 1, 0);
  peers_.by_ordinal[ordinal] = peer;
  return SQLITE_OK;
}

int Log::SaveOrigins(Connection* connection) {
  for (auto& origin : origins_) {
    if (!origin->dirty) continue;
    int rc = connection->Prepare(&save_,
                                 "UPDATE main._mergelite_origins SET held = ?2, merged = ?3, "
                                 "timestamp = ?4, folded = ?5, trimmed = ?6, acknowledged = ?7, "
                                 "reached = ?8 WHERE ordinal = ?1");
    if (rc != SQLITE_OK) return rc;
    save_.Integer(1, origin->ordinal);
    save_.Integer(2, static_cast<int64_t>(origin->held));
    save_.Integer(3, static_cast<int64_t>(origin->merged));
    save_.Integer(4, static_cast<int64_t>(origin->timestamp));
    save_.Integer(5, static_cast<int64_t>(origin->folded));
    save_.Integer(6, static_cast<int64_t>(origin->trimmed));
    save_.Integer(7, static_cast<int64_t>(origin->acknowledged));
    save_.Integer(8, static_cast<int64_t>(origin->reached));
    rc = connection->Check(save_.Run());
    if (rc != SQLITE_OK) return rc;
    origin->dirty = false;
  }
  return SQLITE_OK;
}

int Log::Write(Connection* connection, uint64_t sequence, uint64_t timestamp, Span payload,
               bool again) {
  Statement replace;
  Statement* statement = again ? &replace : &write_;
  int rc = connection->Prepare(
      statement, again ? "INSERT OR REPLACE INTO main._mergelite_log (id, timestamp, payload) "
                         "VALUES (?1, ?2, ?3)"
                       : "INSERT INTO main._mergelite_log (id, timestamp, payload) VALUES (?1, "
                         "?2, ?3)");
  if (rc != SQLITE_OK) return rc;
  statement->Integer(1, LogBase(self_->ordinal) + static_cast<int64_t>(sequence));
  statement->Integer(2, static_cast<int64_t>(timestamp));
  statement->Bytes(3, payload);
  return connection->Check(statement->Run());
}

int Log::Append(Connection* connection, const Origin& origin, const Record& record) {
  int rc = connection->Prepare(
      &append_, "INSERT INTO main._mergelite_log (id, timestamp, payload) VALUES (?1, ?2, ?3)");
  if (rc != SQLITE_OK) return rc;
  append_.Integer(1, LogBase(origin.ordinal) + static_cast<int64_t>(record.sequence));
  append_.Integer(2, static_cast<int64_t>(record.timestamp));
  append_.Bytes(3, record.payload);
  return connection->Check(append_.Run());
}

int Log::PrepareRange(Connection* connection, int64_t first, int64_t last) {
  const int rc = connection->Prepare(
      &range_,
      "SELECT id, timestamp, payload FROM main._mergelite_log WHERE id BETWEEN ?1 AND ?2 "
      "ORDER BY id");
  if (rc != SQLITE_OK) return rc;
  range_.Integer(1, first);
  range_.Integer(2, last);
  return SQLITE_OK;
}

int Log::CheckRange(Connection* connection, int rc) { return connection->Check(rc); }

int Log::Read(Connection* connection, uint64_t peer, uint64_t first, uint64_t last,
              size_t bytes_max, Bytes* out) {
  Origin* origin = FindOrigin(peer);
  if (origin == nullptr || first == 0 || first > last) return SQLITE_OK;
  const uint64_t end = last < origin->held ? last : origin->held;
  if (first > end) return SQLITE_OK;
  uint64_t expected = first;
  return ForEach(connection, *origin, first - 1, end, [&](const Record& record) {
    // A trimmed log begins later than asked for: nothing is better than a range with a hole.
    if (record.sequence != expected) return false;
    if (!out->empty() && out->size() + record.payload.size > bytes_max) return false;
    AppendRecord(record, out);
    expected++;
    return true;
  });
}

int Log::Counts(Connection* connection, int64_t* rows, int64_t* bytes) {
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT count(*), coalesce(sum(length(payload)), 0) FROM main._mergelite_log"));
  if (rc != SQLITE_OK) return rc;
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  *rows = query.ColumnInteger(0);
  *bytes = query.ColumnInteger(1);
  return connection->Check(query.Reset());
}

void Log::ReloadAfterRollback(Connection* connection) {
  for (auto& origin : origins_) {
    origin->dirty = false;
    if (origin.get() != self_) origin->held = origin->merged = 0;
    origin->folded = origin->trimmed = origin->acknowledged = origin->reached = 0;
  }
  valid_ = false;
  Refresh(connection);
  // Origins that the rolled back transaction had added are not in the file.
  for (size_t i = origins_.size(); i-- > 0;) {
    const Ordinal ordinal = origins_[i]->ordinal;
    if (loaded_.size() > ordinal && loaded_[ordinal] == origins_[i]->peer) continue;
    if (origins_[i].get() != self_) origins_.erase(origins_.begin() + static_cast<long>(i));
  }
}

void Log::Forget() {
  valid_ = false;
  tag_ = 0;
  newest_timestamp_ = 0;
  self_ = nullptr;
  origins_.clear();
  peers_.by_ordinal.clear();
}

void Log::Finalize() {
  for (Statement* statement :
       {&meta_, &load_origins_, &tail_, &write_, &append_, &range_, &save_, &others_}) {
    statement->Finalize();
  }
}

}  // namespace mergelite
