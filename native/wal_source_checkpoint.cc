// Checkpoints by who reads the WAL: it must have been read before it is gone.
#include "wal_source.h"

namespace mergelite {
namespace {

// How long a barrier may wait for a writer; without it the checkpoint goes on all the same.
constexpr int kBarrierBusyMs = 50;
// How often the end is looked for behind a checkpoint, and what may have been committed meanwhile.
constexpr int kMovesMax = 4;
constexpr uint64_t kCarriedBytesMax = 8 * 1024 * 1024;

}  // namespace

int WalSource::Checkpoint(Barrier barrier, const WalPlace& captured, uint32_t before, bool* moved,
                          Carried* carried) {
  message_.Clear();
  *moved = false;
  if (!holds_ || holds_next_) return SQLITE_OK;
  if (barrier != Barrier::kNone && writer_ == nullptr) {
    const int rc = Connect(&writer_);
    if (rc != SQLITE_OK) return rc;
    api_->busy_timeout(writer_, kBarrierBusyMs);
  }
  bool keeps_out = barrier == Barrier::kWhole && KeepOut();
  int frames = 0;
  int rc = WriteBack(keeps_out, &frames);
  if (rc == SQLITE_OK && barrier == Barrier::kEnd) keeps_out = KeepOut();
  // A checkpoint comes no further than the reader that is held, so both go on in turn.
  for (int tries = 0; rc == SQLITE_OK && !*moved && tries < kMovesMax; tries++) {
    rc = MoveToEnd(captured, before, frames, moved, carried);
    if (rc == SQLITE_OK && !*moved) rc = WriteBack(keeps_out, &frames);
  }
  // What is carried must not be lost over what failed behind it.
  if (carried->is_there) rc = SQLITE_OK;
  if (keeps_out) Execute(writer_, "ROLLBACK");
  return rc;
}

bool WalSource::KeepOut() {
  return api_->exec(writer_, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK;
}

// `frames`: of the WAL, if all of them have been written back; else -1. A process whose commits
// checkpoint does so after each one of a long WAL, and only one can at a time: `waits` for it.
int WalSource::WriteBack(bool waits, int* frames) {
  int rc, done = 0;
  for (int waited_ms = 0;; waited_ms++) {
    rc = api_->wal_checkpoint_v2(next_, "main", SQLITE_CHECKPOINT_PASSIVE, frames, &done);
    if ((rc & 0xff) != SQLITE_BUSY || !waits || waited_ms == kBarrierBusyMs) break;
    api_->sleep(1);
  }
  if (rc == SQLITE_OK && *frames == done) return SQLITE_OK;
  *frames = -1;
  return rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY ? SQLITE_OK : Fail(next_, rc);
}

// `frames` of the WAL have been written back, all there were; -1 for not all.
int WalSource::MoveToEnd(const WalPlace& captured, uint32_t before, int frames, bool* moved,
                         Carried* carried) {
  WalIndexHead end;
  int rc = Next(false, &end);
  if (rc != SQLITE_OK) return rc;
  const bool goes_on = end.end.salt == captured.salt && end.end.frame >= captured.frame;
  const uint64_t ahead = goes_on ? end.end.frame - captured.frame : 0;
  const size_t frame_bytes = kWalFrameHeadBytes + page_size_;
  if (!goes_on || ahead * frame_bytes > kCarriedBytesMax) return LetGo(true);
  Carried found;
  if (ahead > 0) {
    rc = Scan(captured, end, before, &found.scan);
    if (rc == SQLITE_OK && found.scan.broken) rc = SQLITE_ABORT;
    const size_t count = found.scan.pages.size();
    uint8_t* out = found.data.Reserve(count * page_size_);
    if (rc == SQLITE_OK) {
      rc =
          Pages(end.end.salt, found.scan.pages.data(), found.scan.frames.data(), count, false, out);
    }
    if (rc != SQLITE_OK) return LetGo(true), rc;
    found.data.Advance(count * page_size_);
  }
  found.end = end;
  found.is_there = true;
  *carried = static_cast<Carried&&>(found);
  *moved = static_cast<int64_t>(end.end.frame) == frames;
  return LetGo(false);
}

}  // namespace mergelite
