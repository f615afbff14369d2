// What a file that comes back gives up: see readmit.h.
#include <algorithm>

#include "connection.h"
#include "fates.h"
#include "merge_scope.h"
#include "old_values.h"
#include "trim.h"

namespace mergelite {
namespace {

constexpr uint64_t kGivenUpMax = 256;  // between two looks at the time

// The newest of what is left of one origin first, so that its marks are right after each slice.
int GiveUpOrigin(Connection* connection, const Fate& fate, const Deadline& deadline,
                 GiveUp* give_up) {
  Origin* origin = fate.origin;
  Statement log, refused;
  int rc =
      connection->Check(log.Prepare(connection->api, connection->db,
                                    "DELETE FROM main._mergelite_log WHERE id > ?1 AND id <= ?2"));
  if (rc == SQLITE_OK) {
    rc = connection->Check(
        refused.Prepare(connection->api, connection->db,
                        "DELETE FROM main._mergelite_refused WHERE peer = ?1 AND sequence > ?2"));
  }
  origin->timestamp = std::min(origin->timestamp, fate.timestamp);
  // Its rows are in the tables all the same.
  origin->reached = std::max(origin->reached, origin->held);
  origin->dirty = true;
  const int64_t base = LogBase(origin->ordinal);
  while (rc == SQLITE_OK && origin->held > fate.known && !give_up->more) {
    const uint64_t left = std::max(fate.known, origin->held - std::min(origin->held, kGivenUpMax));
    log.Integer(1, base + static_cast<int64_t>(left));
    log.Integer(2, base + static_cast<int64_t>(origin->held));
    rc = connection->Check(log.Run());
    if (rc == SQLITE_OK) rc = DropOldValues(connection, *origin, left, origin->held);
    give_up->changesets += origin->held - left;
    for (uint64_t* mark : {&origin->held, &origin->merged, &origin->folded, &origin->absorbed,
                           &origin->trimmed, &origin->acknowledged}) {
      *mark = std::min(*mark, left);
    }
    give_up->more = deadline.Passed();
  }
  if (rc != SQLITE_OK) return rc;
  refused.Integer(1, static_cast<int64_t>(origin->peer));
  refused.Integer(2, static_cast<int64_t>(origin->held));
  return connection->Check(refused.Run());
}

}  // namespace

int FindUnsent(Connection* connection, const Readmission& readmission, Unsent* unsent) {
  Fates fates(connection, readmission);
  Bytes oldest;
  int rc = connection->log.Refresh(connection);
  if (rc == SQLITE_OK) rc = fates.Decide(&oldest);
  if (rc != SQLITE_OK) return rc;
  unsent->others = !fates.list().empty();
  const Origin* self = connection->log.self();
  const uint64_t known = fates.Known(self->peer);
  // What others were known to hold may be trimmed.
  unsent->own = self->trimmed > known;
  if (unsent->own || self->held <= known) return SQLITE_OK;
  Statement query;
  rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT EXISTS (SELECT 1 FROM main._mergelite_log WHERE id > ?1 AND id <= ?2 AND timestamp < "
      "?3)"));
  if (rc != SQLITE_OK) return rc;
  query.Integer(1, LogBase(self->ordinal) + static_cast<int64_t>(known));
  query.Integer(2, LogBase(self->ordinal) + static_cast<int64_t>(self->held));
  query.Integer(3, static_cast<int64_t>(readmission.bound));
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  unsent->own = query.ColumnInteger(0) != 0;
  return connection->Check(query.Reset());
}

int GiveUpChangesets(Connection* connection, const Readmission& readmission, double budget_ms,
                     GiveUp* give_up) {
  const Deadline deadline(connection, budget_ms);
  MergeStats stats;
  const int rc = InMergeTransaction(connection, &stats, false, [&] {
    bool folded;
    int result = FoldAll(connection, deadline, &folded);
    if (result != SQLITE_OK || !folded) return give_up->more = true, result;
    Fates fates(connection, readmission);
    Bytes oldest;
    result = fates.Decide(&oldest);
    for (size_t i = 0; result == SQLITE_OK && i < fates.list().size() && !give_up->more; i++) {
      result = GiveUpOrigin(connection, fates.list()[i], deadline, give_up);
    }
    return result;
  });
  give_up->busy = stats.busy;
  return rc;
}

}  // namespace mergelite
