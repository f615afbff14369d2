#include "checkpoint.h"

#include "connection.h"
#include "mutex_guard.h"

namespace mergelite {
namespace {

// A program that commits without a pause outruns the other thread, and the WAL begins anew only
// when a checkpoint has caught up with it. After this many times the usual size a commit does it.
constexpr int kOverflowFactor = 3;

}  // namespace

CheckpointJob* CheckpointJob::New(Connection* connection) {
  const Api* api = connection->api;
  const char *file, *vfs;
  if (!OpensOnOtherThreads(api, connection->db, &file, &vfs)) return nullptr;
  auto* job = new CheckpointJob(api, file, vfs);
  if (job->running_ != nullptr && job->guard_ != nullptr) return job;
  delete job;
  return nullptr;
}

CheckpointJob::CheckpointJob(const Api* api, const char* file, const char* vfs)
    : api_(api),
      file_(file),
      vfs_(vfs),
      running_(api->mutex_alloc(SQLITE_MUTEX_FAST)),
      guard_(api->mutex_alloc(SQLITE_MUTEX_FAST)) {}

CheckpointJob::~CheckpointJob() {
  api_->mutex_free(running_);
  api_->mutex_free(guard_);
}

void CheckpointJob::Run() {
  {
    MutexGuard running(api_, running_);
    Checkpoint();
  }
  done_.store(true, std::memory_order_release);
}

// What fails here is tried again by a later commit.
void CheckpointJob::Checkpoint() {
  sqlite3* db = nullptr;
  {
    MutexGuard guard(api_, guard_);
    if (stopped_) return;
  }
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
  int rc = api_->open_v2(file_.c_str(), &db, flags, vfs_.c_str());
  if (rc == SQLITE_OK) {
    {
      MutexGuard guard(api_, guard_);
      if (!stopped_) db_ = db;
      if (stopped_) rc = SQLITE_INTERRUPT;
    }
    // The first read opens the WAL; without it the checkpoint would read the whole schema for that.
    if (rc == SQLITE_OK) {
      rc = api_->exec(db, "PRAGMA main.schema_version", nullptr, nullptr, nullptr);
    }
    if (rc == SQLITE_OK) {
      int frames = 0, copied = -1;
      rc = api_->wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
      if (rc == SQLITE_OK && copied == frames) covered_ = frames;
    }
    MutexGuard guard(api_, guard_);
    db_ = nullptr;
  }
  api_->close(db);
}

void CheckpointJob::Stop() {
  {
    MutexGuard guard(api_, guard_);
    stopped_ = true;
    if (db_ != nullptr) api_->interruptx(db_);
  }
  MutexGuard running(api_, running_);
}

void CheckpointJob::Release() {
  if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

void Checkpoints::Start(Connection* connection, int frames) {
  connection_ = connection;
  frames_max_ = frames;
}

bool Checkpoints::AfterCommit(int frames) {
  if (frames_max_ <= 0) return false;
  const bool begun_anew = frames < last_frames_;
  last_frames_ = frames;
  if (begun_anew) first_launch_ = chases_ = 0;
  if (!wanted(frames)) return false;
  if (launch == nullptr) return true;
  if (first_launch_ == 0) {
    first_launch_ = next_launch_ = frames;
  } else if (frames - first_launch_ >= frames_max_ * kOverflowFactor) {
    Stop();  // two cannot checkpoint at a time
    return true;
  }
  if (frames < next_launch_) return false;
  next_launch_ = frames + frames_max_;
  return !Launch();
}

bool Checkpoints::CatchUp() {
  if (job_ == nullptr || last_frames_ < kBehindFactor * frames_max_) return false;
  if (!job_->done()) return true;
  // Beyond the last one it is a reader that keeps the WAL from beginning anew.
  if (job_->covers(last_frames_) || chases_ > kChasesMax) return false;
  if (chases_++ < kChasesMax) return Launch();
  const Api* api = connection_->api;
  api->wal_checkpoint_v2(connection_->db, "main", SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  return false;
}

bool Checkpoints::Launch() {
  if (job_ != nullptr && !job_->done()) return true;
  Stop();
  job_ = CheckpointJob::New(connection_);
  if (job_ == nullptr) return false;
  if (launch(launch_context, job_)) return true;
  job_->Release();  // for the thread that will not come
  Stop();
  return false;
}

void Checkpoints::Stop() {
  if (job_ == nullptr) return;
  job_->Stop();
  job_->Release();
  job_ = nullptr;
}

}  // namespace mergelite
