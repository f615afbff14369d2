// Changesets of this peer that no transaction of the user's made: rows from before replication,
// columns of before, and what is issued again. Each is small enough to merge within a few
// milliseconds.
#pragma once
#include "clocks.h"
#include "connection.h"

namespace mergelite {

constexpr size_t kSliceBytesMax = size_t{64} << 10;

class SliceWriter {
 public:
  SliceWriter(Connection* connection, uint64_t shape_hash, uint64_t timestamp)
      : connection_(connection), shape_hash_(shape_hash), timestamp_(timestamp) {}

  Bytes* body() { return &body_; }
  uint64_t patches() const { return patches_; }
  // Each changeset gets a stamp of its own, above all that came before.
  void Tick() { ticks_ = true; }
  int Added() {
    count_++;
    patches_++;
    return body_.size() < kSliceBytesMax ? SQLITE_OK : Write();
  }
  int Write() {
    if (count_ == 0) return SQLITE_OK;
    Log& log = connection_->log;
    if (ticks_) {
      timestamp_ = mergelite::Tick(log.newest_timestamp(), connection_->NowMs());
      log.Observe(timestamp_);
    }
    payload_.Clear();
    EncodePayload({0, &shape_hash_, 1, count_, body_.span()}, &payload_);
    Origin* self = log.self();
    const int rc = log.Write(connection_, self->held + 1, timestamp_, payload_.span(), false);
    if (rc != SQLITE_OK) return rc;
    self->merged = ++self->held;
    self->timestamp = log.newest_timestamp();
    self->dirty = true;
    body_.Clear();
    count_ = 0;
    return SQLITE_OK;
  }
  uint64_t timestamp() const { return timestamp_; }

 private:
  Connection* connection_;
  uint64_t shape_hash_;
  uint64_t timestamp_;
  bool ticks_ = false;
  Bytes body_, payload_;
  uint64_t count_ = 0, patches_ = 0;
};

}  // namespace mergelite
