// The transaction merging works in, and what a connection keeps for it.
#include "connection.h"
#include "ledger.h"
#include "merge_scope.h"
#include "violations.h"
#include "withheld.h"

namespace mergelite {
namespace {

// Forgets what a failed transaction left in memory.
int Abandon(Connection* connection, int rc) {
  connection->merge->parked_loads = UINT64_MAX;
  connection->merge->doubts.clear();
  connection->merge->mutes.RolledBack();
  // What was tried again was undone, too.
  connection->merge->retried_version = -1;
  connection->merge->retried_id = 0;
  connection->merge->clocks.Forget(connection);
  for (const auto& table : connection->catalog.tables()) table->standoffs.Forget();
  connection->log.Invalidate();
  connection->log.ReloadAfterRollback(connection);
  return rc;
}

bool IsBusy(int rc) { return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED; }

}  // namespace

int RunMergeTransaction(Connection* connection, MergeStats* stats, bool many, int (*work)(void*),
                        void* context) {
  connection->error.Clear();
  if (connection->merge == nullptr) connection->merge = std::make_unique<MergeState>();
  MergeState& merge = *connection->merge;
  merge.stats = stats;
  const uint64_t consumed = stats->consumed;
  if (connection->InTransaction()) return stats->busy = true, SQLITE_OK;
  int rc = connection->catalog.Refresh(connection);
  if (rc != SQLITE_OK || !connection->catalog.present()) return rc;
  MergeScope scope(connection, many);
  merge.scope = &scope;
  rc = connection->Prepare(&merge.begin, "BEGIN IMMEDIATE");
  if (rc == SQLITE_OK) rc = connection->Prepare(&merge.commit, "COMMIT");
  if (rc != SQLITE_OK) return rc;
  rc = merge.begin.Run();
  if (rc != SQLITE_OK) {
    connection->Rollback();
    if (IsBusy(rc)) return stats->busy = true, SQLITE_OK;
    return connection->Check(rc);
  }
  rc = connection->log.Refresh(connection);
  // What others have written may be what raises a doubt.
  if (rc == SQLITE_OK) rc = merge.clocks.SettleDoubt(connection);
  if (rc == SQLITE_OK) rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = LookForParked(connection);
  merge.ledger().Begin();
  if (rc == SQLITE_OK) rc = work(context);
  if (rc == SQLITE_OK) rc = SettleWithheld(connection);
  merge.clocks.EndLookUps(connection);
  if (rc == SQLITE_OK) rc = SettleDoubts(connection);
  if (rc == SQLITE_OK) rc = merge.ledger().Close(connection, stats);
  if (rc == SQLITE_OK) rc = connection->log.SaveOrigins(connection);
  if (rc == SQLITE_OK) rc = connection->Check(merge.commit.Run());
  if (rc != SQLITE_OK) {
    // The error stays as it was told first.
    connection->Rollback();
    Abandon(connection, rc);
    if (IsBusy(rc)) return stats->busy = true, SQLITE_OK;
    if (!scope.undone()) return rc;
    connection->error.Clear();
    *stats = MergeStats{};
    stats->consumed = consumed;
    stats->undone = stats->busy = true;
    return SQLITE_OK;
  }
  merge.mutes.Committed();
  connection->log.Committed(connection);
  return SQLITE_OK;
}

MergeState::MergeState() : ledger_(std::make_unique<Ledger>()) {}
MergeState::~MergeState() = default;

void MergeState::Finalize() {
  targets.clear();
  ledger_->Finalize();
  for (Statement* statement : {&park, &parked_by_key, &unpark, &drop_older, &parked_known, &begin,
                               &commit, &temp_triggers, &held, &unpark_withheld, &unmark}) {
    statement->Finalize();
  }
}

}  // namespace mergelite
