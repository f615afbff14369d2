// The receiving side of a state transfer.
#include <algorithm>

#include "connection.h"
#include "merge_scope.h"
#include "state.h"
#include "state_absent.h"
#include "state_progress.h"
#include "trim.h"

namespace mergelite {
namespace {

constexpr int kBatchRows = 128;

class ChunkMerger {
 public:
  ChunkMerger(Connection* connection, const StateChunk& chunk, const Deadline& deadline,
              StateMerge* merge)
      : connection_(connection), chunk_(chunk), deadline_(deadline), merge_(*merge) {}

  // Decodes everything there is before anything is merged.
  int Validate() {
    Reader in(chunk_.items);
    int rc = ReadShapes();
    for (uint64_t i = 0; rc == SQLITE_OK && i < chunk_.item_count; i++) {
      StateItem item;
      Patch patch;
      if (!ReadStateItem(&in, chunk_.vector.size(), &item) ||
          !reader_->ReadOne(item.patch, &patch) ||
          (item.mention && patch.operation != Operation::kDelete)) {
        return Malformed();
      }
      newest_ = std::max(newest_, item.timestamp);
    }
    for (const StateOrigin& origin : chunk_.vector) newest_ = std::max(newest_, origin.timestamp);
    return rc == SQLITE_OK && !in.AtEnd() ? Malformed() : rc;
  }

  // Wall time at which the newest stamp may be merged, or 0 when that is now (M9).
  int64_t TooFarAhead() const {
    const int64_t drift_ms = connection_->merge->drift_max_ms;
    const int64_t ahead_ms = WallMsOf(newest_) - connection_->NowMs();
    return ahead_ms > drift_ms ? WallMsOf(newest_) - drift_ms : 0;
  }

  int Run(Span next, size_t offset, bool again) {
    bool folded;
    int rc = FoldAll(connection_, deadline_, &folded);
    if (rc != SQLITE_OK || !folded) return merge_.stats.more = true, rc;
    rc = ReadStateProgress(connection_, &progress_);
    if (rc == SQLITE_OK) rc = Continue(offset, again);
    if (rc == SQLITE_OK) rc = ReadShapes();
    if (rc == SQLITE_OK) rc = connection_->merge->scope->BeforeWriting();
    if (rc != SQLITE_OK) return rc;
    rc = Observe();
    if (rc != SQLITE_OK) return rc;
    IntersectVector(&progress_.vector, chunk_.vector);
    AbsentRows absent(connection_, chunk_, deadline_);
    rc = absent.Open(position_.span());
    int64_t last_parked = 0;
    if (rc == SQLITE_OK) rc = LastParked(&last_parked);
    bool done = false;
    if (rc == SQLITE_OK) rc = MergeItems(offset, &absent, &done);
    if (rc == SQLITE_OK) rc = DropRepeated(last_parked);
    if (rc == SQLITE_OK) rc = FoldNow();
    absent.Close();
    if (rc != SQLITE_OK) return rc;
    return Save(next, done);
  }

 private:
  int Malformed() {
    return connection_->Fail("PAYLOAD_CORRUPT", "a chunk of state makes no sense",
                             "The message was damaged on its way or its sender is.");
  }

  int ReadShapes() {
    shapes_.clear();
    Payload payload;
    for (const Span& descriptor : chunk_.shapes) {
      const Shape* shape;
      payload.shape_hashes.push_back(Hash64(descriptor));
      const int rc =
          connection_->catalog.FindShape(connection_, payload.shape_hashes.back(), &shape);
      if (rc != SQLITE_OK) return rc;
      if (shape == nullptr) return Malformed();
      shapes_.push_back(shape);
    }
    reader_ = std::make_unique<PatchReader>(payload, shapes_.data());
    return SQLITE_OK;
  }

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

  // What is written here from now on is newer than everything that comes.
  int Observe() {
    Log& log = connection_->log;
    for (const StateOrigin& known : chunk_.vector) {
      log.Observe(known.timestamp);
      if (known.sequence == 0) continue;
      Origin* origin;
      const int rc = OriginOf(known.peer, &origin);
      if (rc != SQLITE_OK) return rc;
      if (origin->reached >= known.sequence) continue;
      origin->reached = known.sequence;
      origin->dirty = true;
    }
    Reader in(chunk_.items);
    StateItem item;
    for (uint64_t i = 0; i < chunk_.item_count; i++) {
      if (ReadStateItem(&in, chunk_.vector.size(), &item)) log.Observe(item.timestamp);
    }
    SaveNewest();
    return SQLITE_OK;
  }
  void SaveNewest() {
    Origin* self = connection_->log.self();
    self->timestamp = connection_->log.newest_timestamp();
    self->dirty = true;
  }

  int MergeItems(size_t offset, AbsentRows* absent, bool* done) {
    Reader in(chunk_.items.data + offset, chunk_.items.end());
    merge_.stats.consumed = offset;
    while (!in.AtEnd()) {
      absent->ForgetMentioned();
      bool more = true;
      for (int i = 0; i < kBatchRows && !in.AtEnd(); i++) {
        const int rc = MergeRow(&in, absent);
        if (rc != SQLITE_OK) return rc;
      }
      int rc = absent->Drop(&position_, key_, &more);
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

  int MergeRow(Reader* in, AbsentRows* absent) {
    StateItem item;
    Patch patch;
    merge_.rows++;
    key_ = {};
    do {
      if (!ReadStateItem(in, chunk_.vector.size(), &item) ||
          !reader_->ReadOne(item.patch, &patch)) {
        return Malformed();
      }
      // The first item has the key as the sender's table has it.
      if (key_.size == 0) {
        key_ = patch.encoded_key;
        absent->Mention(*patch.shape, patch.key, item.unborn);
      }
      if (item.mention) continue;
      Target* target;
      int rc = ResolveTarget(connection_, patch.shape, &target);
      Origin* origin = nullptr;
      if (rc == SQLITE_OK) rc = OriginOf(chunk_.vector[item.origin].peer, &origin);
      if (rc != SQLITE_OK) return rc;
      merge_.stats.patches++;
      rc = MergePatch(connection_, {origin, item.sequence, {item.timestamp, origin->ordinal}},
                      target, patch);
      if (rc != SQLITE_OK) return rc;
    } while (item.goes_on);
    return SQLITE_OK;
  }

  int OriginOf(uint64_t peer, Origin** origin) {
    *origin = connection_->log.FindOrigin(peer);
    return *origin != nullptr ? SQLITE_OK : connection_->log.AddOrigin(connection_, peer, origin);
  }

  int LastParked(int64_t* id) {
    Statement query;
    int rc = connection_->Check(
        query.Prepare(connection_->api, connection_->db,
                      "SELECT coalesce(max(id), 0) FROM main._mergelite_parked"));
    if (rc != SQLITE_OK) return rc;
    rc = query.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    *id = query.ColumnInteger(0);
    return SQLITE_OK;
  }

  // A patch that was parked before and came again.
  int DropRepeated(int64_t last_parked) {
    if (merge_.stats.parked == 0) return SQLITE_OK;
    Statement statement;
    const int rc = connection_->Check(statement.Prepare(
        connection_->api, connection_->db,
        "DELETE FROM main._mergelite_parked AS new WHERE id > ?1 AND EXISTS (SELECT 1 FROM "
        "main._mergelite_parked AS old WHERE old.table_name = new.table_name AND old.key = "
        "new.key AND old.id < new.id AND (old.peer, old.timestamp, old.reason, old.shape, "
        "substr(old.patch, 2)) = (new.peer, new.timestamp, new.reason, new.shape, "
        "substr(new.patch, 2)))"));
    if (rc != SQLITE_OK) return rc;
    statement.Integer(1, last_parked);
    return connection_->Check(statement.Run());
  }

  // These clocks are not in the log: they have to be in their tables when this commits.
  int FoldNow() {
    const Deadline never(connection_, 1e15);
    bool done;
    return connection_->merge->clocks.Fold(connection_, never, true, &done);
  }

  int Save(Span next, bool done) {
    progress_.rows += merge_.rows;
    if (done && (chunk_.flags & kStateEnds) != 0) {
      merge_.complete = true;
      const int rc = ClaimVector(connection_, progress_.vector);
      SaveNewest();
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
    SaveNewest();
    return SaveStateProgress(connection_, progress_);
  }

  Connection* connection_;
  const StateChunk& chunk_;
  const Deadline& deadline_;
  StateMerge& merge_;
  StateProgress progress_;
  std::vector<const Shape*> shapes_;
  std::unique_ptr<PatchReader> reader_;
  Bytes position_;  // the key up to which everything is merged
  Span key_;
  uint64_t newest_ = 0;
};

// In a transaction of its own: what points at shapes must not be undone with the rows.
int LearnShapes(Connection* connection, const StateChunk& chunk, bool* busy) {
  std::vector<Span> missing;
  for (const Span& descriptor : chunk.shapes) {
    const Shape* shape;
    const int rc = connection->catalog.FindShape(connection, Hash64(descriptor), &shape);
    if (rc != SQLITE_OK) return rc;
    if (shape == nullptr) missing.push_back(descriptor);
  }
  if (missing.empty()) return SQLITE_OK;
  Transaction transaction(connection);
  int rc = transaction.Begin();
  if ((rc & 0xff) == SQLITE_BUSY) return *busy = true, connection->error.Clear(), SQLITE_OK;
  int64_t id;
  for (size_t i = 0; rc == SQLITE_OK && i < missing.size(); i++) {
    rc = connection->catalog.AddShape(connection, missing[i], &id);
  }
  if (rc == SQLITE_OK) rc = transaction.Commit();
  if (rc == SQLITE_OK) return rc;
  connection->catalog.Forget();
  connection->merge->targets.clear();
  return rc;
}

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
  if (connection->InTransaction()) return stats.busy = true, SQLITE_OK;
  int rc = connection->catalog.Refresh(connection);
  if (rc != SQLITE_OK || !connection->catalog.present()) return rc;
  rc = LearnShapes(connection, chunk, &stats.busy);
  if (rc != SQLITE_OK || stats.busy) return rc;
  ChunkMerger merger(connection, chunk, deadline, merge);
  if (!message.again) {
    rc = merger.Validate();
    if (rc != SQLITE_OK) return rc;
    stats.resume_at_ms = merger.TooFarAhead();
    if (stats.resume_at_ms > 0) return SQLITE_OK;
  }
  rc = InMergeTransaction(connection, &stats, true, [&] {
    return merger.Run(message.next, message.offset, message.again);
  });
  if (stats.undone) merge->rows = 0, merge->complete = false;
  return rc;
}

}  // namespace mergelite
