#include "trim.h"

#include <algorithm>

#include "connection.h"
#include "old_values.h"

namespace mergelite {
namespace {

// What is deleted between two looks at the time. A large payload's pages are freed one by one.
constexpr int kRowsMax = 256;
constexpr int64_t kBytesMax = int64_t{1} << 20;

class Trimmer {
 public:
  Trimmer(Connection* connection, const TrimPlan& plan) : connection_(connection), plan_(plan) {}

  // Whether anything may go. Reads one log row an origin.
  int Look(bool* any) {
    *any = false;
    for (const auto& origin : connection_->log.origins()) {
      Batch batch;
      const int rc = Next(*origin, 1, &batch);
      if (rc != SQLITE_OK) return rc;
      if (batch.last != 0) *any = true;
    }
    return SQLITE_OK;
  }

  int Run(const Deadline& deadline, TrimStats* stats) {
    NoteAcknowledged();
    bool folded;
    int rc = FoldAll(connection_, deadline, &folded);
    if (rc != SQLITE_OK || !folded) return stats->more = true, rc;
    for (const auto& origin : connection_->log.origins()) {
      for (;;) {
        Batch batch;
        rc = Next(*origin, kRowsMax, &batch);
        if (rc == SQLITE_OK && batch.last != 0) rc = Delete(origin.get(), batch);
        if (rc != SQLITE_OK) return rc;
        if (batch.last == 0) break;
        stats->changesets += batch.rows;
        if (deadline.Passed()) return stats->more = true, SQLITE_OK;
      }
    }
    return SQLITE_OK;
  }

 private:
  struct Batch {
    uint64_t last = 0;  // sequence; 0 when nothing may go
    uint64_t rows = 0;
  };

  void NoteAcknowledged() {
    for (const TrimPlan::Held& one : plan_.acknowledged) {
      Origin* origin = connection_->log.FindOrigin(one.peer);
      if (origin == nullptr || origin->acknowledged >= one.sequence) continue;
      origin->acknowledged = std::min(one.sequence, origin->held);
      origin->dirty = true;
    }
  }

  static uint64_t SequenceIn(const std::vector<TrimPlan::Held>& list, uint64_t peer) {
    for (const TrimPlan::Held& one : list) {
      if (one.peer == peer) return one.sequence;
    }
    return 0;
  }

  uint64_t LastAllowed(const Origin& origin) const {
    if (!IsOwn(origin.ordinal)) return origin.merged;
    // Under a former id others may write: what came of that may have to wait for its time.
    const uint64_t last = std::min(origin.merged, origin.held - (origin.held > 0 ? 1 : 0));
    if (plan_.alone) return last;
    return std::min(last,
                    std::max(origin.acknowledged, SequenceIn(plan_.acknowledged, origin.peer)));
  }

  // The oldest rows of an origin that may go. Rows at or below the mark are what a transfer of
  // state has gone past.
  int Next(const Origin& origin, int rows_max, Batch* batch) {
    const uint64_t allowed = LastAllowed(origin);
    int rc = connection_->Prepare(&oldest_,
                                  "SELECT id, timestamp, length(payload) FROM main._mergelite_log "
                                  "WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3");
    if (rc != SQLITE_OK) return rc;
    const uint64_t end = std::max(allowed, origin.trimmed);
    oldest_.Integer(1, LogBase(origin.ordinal) + 1);
    oldest_.Integer(2, LogBase(origin.ordinal) + static_cast<int64_t>(end));
    oldest_.Integer(3, rows_max);
    const uint64_t held = SequenceIn(plan_.held_by_all, origin.peer);
    int64_t bytes = 0;
    while ((rc = oldest_.Step()) == SQLITE_ROW) {
      const uint64_t sequence = SequenceOf(oldest_.ColumnInteger(0));
      const auto timestamp = static_cast<uint64_t>(oldest_.ColumnInteger(1));
      const bool stays = sequence > origin.trimmed && sequence > held;
      if (stays && timestamp > plan_.timestamp) return oldest_.Reset();
      batch->last = sequence;
      batch->rows++;
      bytes += oldest_.ColumnInteger(2);
      if (bytes > kBytesMax) return oldest_.Reset();
    }
    return connection_->Check(rc);
  }

  int Delete(Origin* origin, const Batch& batch) {
    int rc = connection_->Prepare(&delete_,
                                  "DELETE FROM main._mergelite_log WHERE id BETWEEN ?1 AND ?2");
    if (rc != SQLITE_OK) return rc;
    delete_.Integer(1, LogBase(origin->ordinal) + 1);
    delete_.Integer(2, LogBase(origin->ordinal) + static_cast<int64_t>(batch.last));
    rc = connection_->Check(delete_.Run());
    if (rc == SQLITE_OK) rc = DropOldValues(connection_, *origin, 0, batch.last);
    if (rc != SQLITE_OK) return rc;
    origin->trimmed = std::max(origin->trimmed, batch.last);
    origin->dirty = true;
    return SQLITE_OK;
  }

  Connection* connection_;
  const TrimPlan& plan_;
  Statement oldest_, delete_;
};

}  // namespace

int FoldAll(Connection* connection, const Deadline& deadline, bool* done) {
  Clocks& clocks = connection->merge->clocks;
  int rc = clocks.AbsorbTail(connection, deadline, done);
  if (rc != SQLITE_OK) return rc;
  const bool absorbed = *done;
  rc = clocks.Fold(connection, deadline, absorbed, done);
  if (rc != SQLITE_OK) return rc;
  *done = absorbed && clocks.empty();
  if (!*done) return SQLITE_OK;
  // What left no clock, as patches of tables that are not replicated here, is parked or void: the
  // log is not asked again.
  for (const auto& origin : connection->log.origins()) {
    if (origin->folded >= origin->absorbed) continue;
    origin->folded = origin->absorbed;
    origin->dirty = true;
  }
  return SQLITE_OK;
}

int TrimLog(Connection* connection, const TrimPlan& plan, double budget_ms, TrimStats* stats) {
  const Deadline deadline(connection, budget_ms);
  if (connection->InTransaction()) return stats->busy = true, SQLITE_OK;
  Trimmer trimmer(connection, plan);
  bool any;
  int rc = connection->catalog.Refresh(connection);
  if (rc != SQLITE_OK || !connection->catalog.present()) return rc;
  rc = connection->log.Refresh(connection);
  if (rc == SQLITE_OK) rc = trimmer.Look(&any);
  if (rc != SQLITE_OK || !any) return rc;
  MergeStats merge;
  rc = InMergeTransaction(connection, &merge, false, [&] { return trimmer.Run(deadline, stats); });
  stats->busy = merge.busy;
  return rc;
}

}  // namespace mergelite
