// Which changesets of a file that comes back to its cluster are given up: see readmit.h.
#pragma once
#include <algorithm>

#include "connection.h"
#include "readmit.h"

namespace mergelite {

// What becomes of an origin's changesets that the member lacks.
struct Fate {
  Origin* origin = nullptr;
  uint64_t known = 0;  // the member holds up to here
  bool given_up = false;
  bool reissued = false;   // nobody else will bring them
  uint64_t timestamp = 0;  // of the newest that is known
  uint64_t since = 0;      // no stamp below is of an unknown one
};

class Fates {
 public:
  Fates(Connection* connection, const Readmission& readmission)
      : connection_(connection), readmission_(readmission) {}

  // `oldest`: what an earlier slice has found by reading the log; more is added.
  int Decide(Bytes* oldest) {
    oldest_ = oldest;
    Log& log = connection_->log;
    for (const auto& origin : log.origins()) {
      if (origin.get() == log.self()) continue;
      const uint64_t known = Known(origin->peer);
      if (origin->held <= known) continue;
      Fate fate;
      fate.origin = origin.get();
      fate.known = known;
      const int rc = Decide(&fate);
      if (rc != SQLITE_OK) return rc;
      if (fate.given_up) list_.push_back(fate);
    }
    return SQLITE_OK;
  }

  uint64_t Known(uint64_t peer) const {
    for (const Readmission::Held& one : readmission_.vector) {
      if (one.peer == peer) return one.sequence;
    }
    return 0;
  }

  // Whether the stamp is of a changeset that has to be issued again. Too many do no harm: they were
  // alive a moment ago at the member, too.
  bool Reissues(const Stamp& stamp) const {
    for (const Fate& fate : list_) {
      if (fate.origin->ordinal == stamp.origin) {
        return fate.reissued && stamp.timestamp >= fate.since;
      }
    }
    return false;
  }
  // What is issued again beats nothing that it would have lost to, but for what lies below the
  // bound: that is known, or gone. Above it, it is one more than it was, as what migrations fill
  // in.
  uint64_t Restamped(uint64_t timestamp) const {
    return timestamp < readmission_.bound ? readmission_.bound : timestamp + 1;
  }
  bool IsBelow(uint64_t timestamp) const { return timestamp < readmission_.bound; }
  const std::vector<Fate>& list() const { return list_; }

 private:
  bool IsMember(uint64_t peer) const {
    const auto& members = readmission_.members;
    return std::find(members.begin(), members.end(), peer) != members.end();
  }

  int Decide(Fate* fate) {
    Statement query;
    int rc = connection_->Check(query.Prepare(
        connection_->api, connection_->db,
        "SELECT (SELECT timestamp FROM main._mergelite_log WHERE id = ?1), (SELECT timestamp FROM "
        "main._mergelite_log WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT 1), EXISTS (SELECT 1 "
        "FROM main._mergelite_log WHERE id = ?1 + 1)"));
    if (rc != SQLITE_OK) return rc;
    const int64_t base = LogBase(fate->origin->ordinal);
    query.Integer(1, base + static_cast<int64_t>(fate->known));
    query.Integer(2, base + static_cast<int64_t>(fate->origin->held));
    rc = query.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    const bool has_known = !query.ColumnIsNull(0), has_next = query.ColumnInteger(2) != 0;
    const auto known = static_cast<uint64_t>(query.ColumnInteger(0));
    const auto next = static_cast<uint64_t>(query.ColumnInteger(1));
    fate->timestamp = has_known ? known : has_next && fate->known > 0 && next > 0 ? next - 1 : 0;
    rc = connection_->Check(query.Reset());
    // Of what is trimmed nobody knows the timestamps any more: all counts as unknown.
    if (rc == SQLITE_OK && has_next) rc = FindSince(fate);
    if (rc != SQLITE_OK) return rc;
    fate->given_up = fate->since < readmission_.bound;
    fate->reissued = IsOwn(fate->origin->ordinal) || !IsMember(fate->origin->peer);
    return SQLITE_OK;
  }

  // Timestamps of one origin do not always rise in the log, so all of it has to be read: once.
  int FindSince(Fate* fate) {
    const Origin& origin = *fate->origin;
    Reader in(oldest_->span());
    while (!in.AtEnd() && in.ok()) {
      const uint64_t peer = in.Varint(), held = in.Varint(), since = in.Varint();
      if (in.ok() && peer == origin.peer && held == origin.held) {
        fate->since = since;
        return SQLITE_OK;
      }
    }
    Statement query;
    int rc = connection_->Check(query.Prepare(
        connection_->api, connection_->db,
        "SELECT coalesce(min(timestamp), 0) FROM main._mergelite_log WHERE id > ?1 AND id <= ?2"));
    if (rc != SQLITE_OK) return rc;
    query.Integer(1, LogBase(origin.ordinal) + static_cast<int64_t>(fate->known));
    query.Integer(2, LogBase(origin.ordinal) + static_cast<int64_t>(origin.held));
    rc = query.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    fate->since = static_cast<uint64_t>(query.ColumnInteger(0));
    oldest_->Varint(origin.peer);
    oldest_->Varint(origin.held);
    oldest_->Varint(fate->since);
    return connection_->Check(query.Reset());
  }

  Connection* connection_;
  const Readmission& readmission_;
  Bytes* oldest_ = nullptr;
  std::vector<Fate> list_;
};

}  // namespace mergelite
