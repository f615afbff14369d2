// Checkpoints of the WAL. SQLite makes them inside the commit that fills the WAL; here that commit
// only has one started, on another thread and through a connection of its own.
#pragma once
#include <atomic>

#include "sqlite_api.h"

namespace mergelite {

struct Connection;

// One checkpoint. Belongs to the connection that wanted it and to the thread that makes it, and is
// freed by whoever lets go last.
class CheckpointJob {
 public:
  // Null where SQLite knows no threads, or the database is not a file.
  static CheckpointJob* New(Connection* connection);
  // On any thread, once.
  void Run();
  bool done() const { return done_.load(std::memory_order_acquire); }
  // Returns when Run() is over or will do nothing any more; soon, for SQLite is told to stop.
  void Stop();
  void Release();

 private:
  CheckpointJob(const Api* api, const char* file, const char* vfs);
  ~CheckpointJob();
  void Checkpoint();

  const Api* api_;
  Text file_, vfs_;
  sqlite3_mutex* running_;  // held while Run() is
  sqlite3_mutex* guard_;    // of the next two
  sqlite3* db_ = nullptr;
  bool stopped_ = false;
  std::atomic<bool> done_{false};
  std::atomic<int> owners_{2};
};

// When to checkpoint: decided after every commit.
class Checkpoints {
 public:
  ~Checkpoints() { Stop(); }
  // `frames`: the WAL's size at which SQLite would checkpoint; 0 for never.
  void Start(Connection* connection, int frames);
  bool wanted(int frames) const { return frames_max_ > 0 && frames >= frames_max_; }
  // Of the main database. Returns whether the caller has to checkpoint before it goes on.
  bool AfterCommit(int frames);
  // One is under way, and the WAL so large that who can wait should let it catch up: otherwise it
  // will be a commit that does.
  bool behind() const {
    return job_ != nullptr && !job_->done() && last_frames_ >= kBehindFactor * frames_max_;
  }
  // Nothing of ours holds the file open afterwards.
  void Stop();

  // Has Run() called on another thread, and Release() afterwards. Set by the addon: an SQLite host
  // that is not Node has its checkpoints made in commits as before.
  bool (*launch)(void* context, CheckpointJob* job) = nullptr;
  void* launch_context = nullptr;

 private:
  static constexpr int kBehindFactor = 2;
  bool Launch();

  Connection* connection_ = nullptr;
  CheckpointJob* job_ = nullptr;
  int frames_max_ = 0;
  int last_frames_ = 0;
  int first_launch_ = 0;  // the WAL's size when a checkpoint was first started since its last reset
  int next_launch_ = 0;
};

}  // namespace mergelite
