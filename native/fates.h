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
  uint64_t timestamp = 0;  // of the newest that is known; stamps above are of unknown ones
  bool shares = false;     // ... and so may be some of just that timestamp
  bool ancient = false;    // some unknown ones are of rows from before replication
};

class Fates {
 public:
  Fates(Connection* connection, const Readmission& readmission)
      : connection_(connection), readmission_(readmission) {}

  int Decide() {
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
      if (fate.origin->ordinal != stamp.origin) continue;
      if (!fate.reissued) return false;
      if (stamp.timestamp == kBeforeAllWrites) return fate.ancient;
      return stamp.timestamp > fate.timestamp || (stamp.timestamp == fate.timestamp && fate.shares);
    }
    return false;
  }
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
        "FROM main._mergelite_log WHERE id = ?1 + 1), EXISTS (SELECT 1 FROM main._mergelite_log "
        "WHERE id > ?1 AND id <= ?2 AND timestamp = 1)"));
    if (rc != SQLITE_OK) return rc;
    const int64_t base = LogBase(fate->origin->ordinal);
    query.Integer(1, base + static_cast<int64_t>(fate->known));
    query.Integer(2, base + static_cast<int64_t>(fate->origin->held));
    rc = query.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    const bool has_known = !query.ColumnIsNull(0), has_next = query.ColumnInteger(2) != 0;
    const auto known = static_cast<uint64_t>(query.ColumnInteger(0));
    const auto next = static_cast<uint64_t>(query.ColumnInteger(1));
    fate->ancient = query.ColumnInteger(3) != 0 || !has_next;
    fate->given_up = !has_next || next < readmission_.bound;
    fate->reissued = IsOwn(fate->origin->ordinal) || !IsMember(fate->origin->peer);
    // Of what is trimmed nobody knows the timestamps any more: all counts as unknown.
    fate->timestamp = has_known ? known : has_next && fate->known > 0 && next > 0 ? next - 1 : 0;
    fate->shares = has_known && has_next && next == known;
    return connection_->Check(query.Reset());
  }

  Connection* connection_;
  const Readmission& readmission_;
  std::vector<Fate> list_;
};

}  // namespace mergelite
