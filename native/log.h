// The log of changesets and the origins they come from.
#pragma once
#include <vector>

#include "codec.h"
#include "hlc.h"
#include "sqlite_api.h"
#include "stamp.h"

namespace mergelite {

struct Connection;

struct Origin {
  Ordinal ordinal = 0;
  uint64_t peer = 0;
  // Highest sequence in the log without a gap, and how far of it is in the tables. They differ only
  // while a part of a large transaction is missing or its clock is too far ahead.
  uint64_t held = 0;
  uint64_t merged = 0;
  uint64_t timestamp = 0;     // of the newest changeset merged
  uint64_t folded = 0;        // row clocks up to here are in the clock tables
  uint64_t absorbed = 0;      // ... and up to here at least in this connection's memory
  uint64_t trimmed = 0;       // the log begins after this: trimmed <= folded <= merged <= held
  uint64_t acknowledged = 0;  // of this file's own: held by another peer
  uint64_t reached = 0;       // a state transfer may have brought rows of up to here
  bool dirty = false;
};

class Log {
 public:
  // Creates the system tables when they are missing. Inside a transaction.
  int CreateTables(Connection* connection);
  // Loads identity and origins when another connection may have changed them. The caller is inside
  // a transaction, or accepts that it is a snapshot.
  int Refresh(Connection* connection);
  void Invalidate() { valid_ = false; }
  // Takes the marks from the file again: what a rolled back transaction changed in memory.
  void ReloadAfterRollback(Connection* connection);
  // After the system tables were dropped.
  void Forget();
  bool loaded() const { return valid_; }
  // Grows whenever another connection may have changed the file.
  uint64_t loads() const { return loads_; }

  int64_t tag() const { return tag_; }
  // Tombstones below this timestamp are gone from the file, or never came: see docs/decisions/0016.
  uint64_t swept() const { return swept_; }
  int RaiseSwept(Connection* connection, uint64_t swept);
  uint64_t peer_id() const { return self_ == nullptr ? 0 : self_->peer; }
  Origin* self() { return self_; }
  std::vector<std::unique_ptr<Origin>>& origins() { return origins_; }
  Origin* FindOrigin(uint64_t peer);
  int AddOrigin(Connection* connection, uint64_t peer, Origin** origin);
  const PeerIds& peers() const { return peers_; }
  // Makes a new peer id this file's own; the old one stays as an ordinary origin.
  int RenewIdentity(Connection* connection);

  uint64_t newest_timestamp() const { return newest_timestamp_; }
  void Observe(uint64_t timestamp) {
    if (timestamp > newest_timestamp_) newest_timestamp_ = timestamp;
  }

  // Writes a changeset of this peer. `again` replaces the row of a COMMIT that was refused.
  int Write(Connection* connection, uint64_t sequence, uint64_t timestamp, Span payload,
            bool again);
  // Appends a changeset as received.
  int Append(Connection* connection, const Origin& origin, const Record& record);
  int SaveOrigins(Connection* connection);
  // After a commit of this connection: what is in memory is what the file has.
  void Committed(Connection* connection);

  int Read(Connection* connection, uint64_t peer, uint64_t first, uint64_t last, size_t bytes_max,
           Bytes* out);
  // Runs `visit` over the changesets of an origin in (after, last], until it returns false.
  template <class Visit>
  int ForEach(Connection* connection, const Origin& origin, uint64_t after, uint64_t last,
              Visit visit) {
    int rc = PrepareRange(connection, LogBase(origin.ordinal) + static_cast<int64_t>(after) + 1,
                          LogBase(origin.ordinal) + static_cast<int64_t>(last));
    if (rc != SQLITE_OK) return rc;
    while ((rc = range_.Step()) == SQLITE_ROW) {
      Record record{origin.peer, SequenceOf(range_.ColumnInteger(0)),
                    static_cast<uint64_t>(range_.ColumnInteger(1)), range_.ColumnBytes(2)};
      if (!visit(record)) return range_.Reset();
    }
    return CheckRange(connection, rc);
  }
  // Schema changes and settings make SQLite compile statements again; this counts them.
  int WriteReprepared() { return write_ ? write_.Reprepared() : 0; }
  int Counts(Connection* connection, int64_t* rows, int64_t* bytes);
  int MetaInteger(Connection* connection, const char* key, int64_t* value);
  int SetMeta(Connection* connection, const char* key, const Value& value);

  void Finalize();

 private:
  int LoadOrigins(Connection* connection);
  int LoadSelf(Connection* connection);
  void PassAbsorbed(Connection* connection, Origin* origin);
  void DropVanished(Connection* connection);
  // SQLITE_ROW with the newest changeset of this peer in the log, SQLITE_OK when there is none.
  int ReadTail(Connection* connection);
  int PrepareRange(Connection* connection, int64_t first, int64_t last);
  int CheckRange(Connection* connection, int rc);
  uint32_t DataVersion(Connection* connection);
  int OthersVersion(Connection* connection, int64_t* version);

  bool valid_ = false;
  uint32_t data_version_ = 0;
  int64_t others_version_ = 0;
  uint64_t loads_ = 0;
  int64_t tag_ = 0;
  uint64_t newest_timestamp_ = 0;
  uint64_t swept_ = 0;
  Origin* self_ = nullptr;
  std::vector<std::unique_ptr<Origin>> origins_;
  PeerIds peers_;
  std::vector<uint64_t> loaded_;  // peer ids by ordinal, as the file has them
  Statement meta_, load_origins_, tail_, write_, append_, range_, save_, others_;
};

}  // namespace mergelite
