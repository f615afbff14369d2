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
  // Once done: everything of a WAL that long is in the database file, so the next writer begins it
  // anew.
  bool covers(int frames) const { return frames <= covered_; }
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
  int covered_ = 0;  // written before `done_`, read after it
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
  // The WAL is so large that who can wait should let checkpoints catch up with it: otherwise it
  // will be a commit that does, with much to copy. What was committed while one ran is left to the
  // next, which has little to do, so a WAL comes to its end also beside a program that writes now
  // and then. If one writes too often for that, the last bit is copied here.
  bool CatchUp();
  // Nothing of ours holds the file open afterwards.
  void Stop();

  // Has Run() called on another thread, and Release() afterwards. Set by the addon: an SQLite host
  // that is not Node has its checkpoints made in commits as before.
  bool (*launch)(void* context, CheckpointJob* job) = nullptr;
  void* launch_context = nullptr;

 private:
  static constexpr int kBehindFactor = 2;
  static constexpr int kChasesMax = 4;
  bool Launch();

  Connection* connection_ = nullptr;
  CheckpointJob* job_ = nullptr;
  int frames_max_ = 0;
  int last_frames_ = 0;
  int first_launch_ = 0;  // the WAL's size when a checkpoint was first started since its last reset
  int next_launch_ = 0;
  int chases_ = 0;  // since then, by CatchUp()
};

}  // namespace mergelite
