// The receiving side of a state transfer.
#include "connection.h"
#include "merge_scope.h"
#include "state.h"
#include "state_absent.h"
#include "state_fresh.h"
#include "state_items.h"
#include "state_progress.h"
#include "trim.h"

namespace mergelite {
namespace {

constexpr uint64_t kBatchRows = 128;
// Where no row is known they are merged faster.
constexpr uint64_t kFreshRows = 512;

class ChunkMerger {
 public:
  ChunkMerger(Connection* connection, const StateChunk& chunk, const Deadline& deadline,
              StateItems* items, StateMerge* merge)
      : connection_(connection),
        chunk_(chunk),
        deadline_(deadline),
        items_(*items),
        fresh_(connection, chunk, items),
        merge_(*merge) {}

  int Run(const StateMessage& message) {
    bool folded;
    int rc = FoldAll(connection_, deadline_, &folded);
    if (rc != SQLITE_OK || !folded) return merge_.stats.more = true, rc;
    rc = ReadStateProgress(connection_, &progress_);
    if (rc == SQLITE_OK) rc = Continue(message.offset, message.again);
    if (rc == SQLITE_OK) rc = items_.ReadShapes();
    if (rc == SQLITE_OK) rc = connection_->merge->scope->BeforeWriting();
    if (rc != SQLITE_OK) return rc;
    rc = items_.Observe();
    if (rc != SQLITE_OK) return rc;
    // What this file lacks from here on is what the sender has forgotten.
    rc = connection_->log.RaiseSwept(connection_, chunk_.swept);
    if (rc != SQLITE_OK) return rc;
    IntersectVector(&progress_.vector, chunk_.vector);
    AbsentRows absent(connection_, chunk_, deadline_);
    rc = absent.Open(position_.span());
    if (rc == SQLITE_OK) rc = items_.NoteParked();
    if (rc == SQLITE_OK) rc = OpenFresh(absent.fresh());
    bool done = false;
    if (rc == SQLITE_OK) rc = MergeItems(message.offset, &absent, &done);
    if (rc == SQLITE_OK) rc = items_.DropRepeated();
    if (rc == SQLITE_OK) rc = FoldNow(connection_);
    if (absent.fresh() != nullptr) absent.fresh()->clocks_empty = false;
    if (rc != SQLITE_OK) return rc;
    return Save(message.next, done);
  }

 private:
  // Whether this chunk goes on where the last one ended.
  int Continue(size_t offset, bool again) {
    StateCursor at;
    if (!progress_.exists || !DecodeStateCursor(progress_.cursor.span(), &at)) return OutOfOrder();
    bool fits;
    // A slice may have run out of time before it came to the chunk.
    again = again && CompareNames(chunk_.table, at.table) == 0 && at.order == chunk_.order;
    if (chunk_.table.size == 0 && (chunk_.flags & kStateEnds) == 0) {
      Reader in(chunk_.after);
      fits = !at.rows && in.Varint() == at.parked_after && in.ok();
    } else if (chunk_.after.size == 0 && !again) {
      fits = CompareNames(chunk_.table, at.table) >= 0 || chunk_.table.size == 0;
    } else {
      fits = CompareNames(chunk_.table, at.table) == 0 && at.order == chunk_.order &&
             (again || at.after == chunk_.after);
    }
    if (!fits || offset > chunk_.items.size) return OutOfOrder();
    if (offset > 0 && !again && chunk_.table.size > 0) return OutOfOrder();
    if (chunk_.table.size > 0) position_.Append(again ? at.after : chunk_.after);
    return SQLITE_OK;
  }
  int OutOfOrder() {
    return connection_->Fail("STATE_OUT_OF_ORDER", "a chunk of state is not the one asked for",
                             "The transfer goes on from where it stands.");
  }

  // Where no row is known they are written many at a time or, where triggers fire, without a look
  // at their clocks.
  int OpenFresh(Table* table) {
    if (table == nullptr) return SQLITE_OK;
    const int rc = fresh_.Open(table, &fits_fresh_);
    table->clocks_empty = rc == SQLITE_OK && !fits_fresh_;
    return rc;
  }

  int MergeItems(size_t offset, AbsentRows* absent, bool* done) {
    Reader in(chunk_.items.data + offset, chunk_.items.end());
    merge_.stats.consumed = offset;
    while (!in.AtEnd()) {
      absent->ForgetMentioned();
      bool more = true;
      int rc =
          fits_fresh_ ? fresh_.Merge(&in, kFreshRows, &merge_.rows, &key_) : MergeRows(&in, absent);
      if (rc == SQLITE_OK) rc = absent->Drop(&position_, key_, &more);
      if (rc != SQLITE_OK || more) return merge_.stats.more = true, rc;
      position_.Clear();
      position_.Append(key_);
      merge_.stats.consumed = static_cast<uint64_t>(in.at() - chunk_.items.data);
      if (!in.AtEnd() && deadline_.Passed()) return merge_.stats.more = true, SQLITE_OK;
    }
    if ((chunk_.flags & kStateTableEnds) != 0) {
      bool more;
      absent->ForgetMentioned();
      const int rc = absent->Drop(&position_, {}, &more);
      if (rc != SQLITE_OK || more) return merge_.stats.more = true, rc;
    }
    *done = true;
    return SQLITE_OK;
  }

  int MergeRows(Reader* in, AbsentRows* absent) {
    int rc = SQLITE_OK;
    for (uint64_t i = 0; rc == SQLITE_OK && i < kBatchRows && !in->AtEnd(); i++) {
      rc = MergeRow(in, absent);
    }
    return rc;
  }

  int MergeRow(Reader* in, AbsentRows* absent) {
    StateItem item;
    Patch patch;
    merge_.rows++;
    key_ = {};
    do {
      int rc = items_.Next(in, &item, &patch);
      if (rc != SQLITE_OK) return rc;
      // The first item has the key as the sender's table has it.
      if (key_.size == 0) {
        key_ = patch.encoded_key;
        absent->Mention(*patch.shape, patch.key, item.unborn);
      }
      rc = items_.Merge(item, patch);
      if (rc != SQLITE_OK) return rc;
    } while (item.goes_on);
    return SQLITE_OK;
  }

  int Save(Span next, bool done) {
    progress_.rows += merge_.rows;
    if (done && (chunk_.flags & kStateEnds) != 0) {
      merge_.complete = true;
      const int rc = ClaimVector(connection_, progress_.vector);
      SaveNewest(connection_);
      return rc == SQLITE_OK ? DropStateProgress(connection_) : rc;
    }
    StateCursor at;
    if (!DecodeStateCursor(progress_.cursor.span(), &at)) return OutOfOrder();
    Bytes cursor;
    if (done) {
      cursor.Append(next);
    } else if (chunk_.table.size > 0) {
      EncodeStateCursor({true, at.parked_after, chunk_.table, chunk_.order, position_.span()},
                        &cursor);
    } else {
      cursor.Append(progress_.cursor.span());
    }
    progress_.cursor.Swap(cursor);
    SaveNewest(connection_);
    return SaveStateProgress(connection_, progress_);
  }

  Connection* connection_;
  const StateChunk& chunk_;
  const Deadline& deadline_;
  StateItems& items_;
  FreshRows fresh_;
  bool fits_fresh_ = false;
  StateMerge& merge_;
  StateProgress progress_;
  Bytes position_;  // the key up to which everything is merged
  Span key_;
};

}  // namespace

int MergeChunk(Connection* connection, const StateMessage& message, double budget_ms,
               StateMerge* merge) {
  const Deadline deadline(connection, budget_ms);
  MergeStats& stats = merge->stats;
  stats.consumed = message.offset;
  StateChunk chunk;
  StateCursor cursor;
  if (DecodeStateChunk(message.chunk, &chunk) != DecodeError::kNone ||
      !DecodeStateCursor(message.next, &cursor)) {
    return connection->Fail("PAYLOAD_CORRUPT", "a chunk of state does not decode",
                            "The message was damaged on its way or its sender is.");
  }
  if (connection->InTransaction() || connection->checkpoints.CatchUp()) {
    return stats.busy = true, SQLITE_OK;
  }
  int rc = connection->catalog.Refresh(connection);
  if (rc != SQLITE_OK || !connection->catalog.present()) return rc;
  StateItems items(connection, chunk);
  rc = items.LearnShapes(&stats.busy);
  if (rc != SQLITE_OK || stats.busy) return rc;
  ChunkMerger merger(connection, chunk, deadline, &items, merge);
  if (!message.again) {
    rc = items.Validate();
    if (rc != SQLITE_OK) return rc;
    stats.resume_at_ms = items.TooFarAhead();
    if (stats.resume_at_ms > 0) return SQLITE_OK;
  }
  rc = InMergeTransaction(connection, &stats, true, [&] { return merger.Run(message); });
  if (stats.undone) merge->rows = 0, merge->complete = false;
  return rc;
}

}  // namespace mergelite
