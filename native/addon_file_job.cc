#include "addon_file_job.h"

#include "addon_task.h"
#include "connection.h"
#include "file_job.h"

namespace mergelite {
namespace {

// A worker that is terminated waits for its tasks: they must not take long then.
void StopJob(void* data) { static_cast<FileJob*>(data)->Stop(); }

class JobTask : public Task<JobTask> {
 public:
  JobTask(napi_env env, FileJob* job) : env_(env), job_(job) {
    job->Retain();
    napi_add_env_cleanup_hook(env, StopJob, job);
  }
  ~JobTask() {
    napi_remove_env_cleanup_hook(env_, StopJob, job_);
    job_->Release();
  }

  void Run() { job_->Run(); }
  const char* failure() const {
    if (job_->rc() == SQLITE_OK) return nullptr;
    return job_->message().empty() ? "the copy was stopped" : job_->message().c_str();
  }
  napi_value Answer(napi_env env) const;

 private:
  napi_env env_;
  FileJob* job_;
};

napi_value JobTask::Answer(napi_env env) const {
  napi_value list = Array(env);
  for (const auto& reading : job_->readings()) {
    Object entry(env);
    entry.Set("kind", String(env, reading.kind.span()));
    entry.Set("name", String(env, reading.name.span()));
    entry.Set("value", static_cast<uint64_t>(reading.value));
    Push(env, list, entry);
  }
  return list;
}

FileJob* NewJob(Call* call) {
  Connection* connection = call->Find();
  if (connection == nullptr) return nullptr;
  FileJob* job = FileJob::New(connection);
  if (job == nullptr) {
    Throw(call->env, "SQLITE", "the database is not a file that another thread can open",
          "Use a database in a file, and an SQLite that was compiled for threads.");
  }
  return job;
}

// [the job, a promise of what it reads]
napi_value Launch(napi_env env, FileJob* job) {
  napi_value promise = JobTask::Start(env, new JobTask(env, job));
  napi_value external = External(env, job);
  if (promise == nullptr) return nullptr;
  napi_value pair = Array(env);
  Push(env, pair, external);
  Push(env, pair, promise);
  return pair;
}

napi_value Snapshot(napi_env env, napi_callback_info info) {
  Call call(env, info);
  FileJob* job = NewJob(&call);
  if (job == nullptr) return nullptr;
  job->Snapshot(call.String(1), call.Integer(2) != 0);
  return Launch(env, job);
}

napi_value Measure(napi_env env, napi_callback_info info) {
  Call call(env, info);
  FileJob* job = NewJob(&call);
  return job == nullptr ? nullptr : Launch(env, job);
}

napi_value Progress(napi_env env, napi_callback_info info) {
  const FileJob* job = ExternalOf<FileJob>(Call(env, info), 0);
  if (job == nullptr) return nullptr;
  return Object(env)
      .Set("done", static_cast<uint64_t>(job->pages_done()))
      .Set("pages", static_cast<uint64_t>(job->pages()));
}

napi_value Stop(napi_env env, napi_callback_info info) {
  FileJob* job = ExternalOf<FileJob>(Call(env, info), 0);
  if (job != nullptr) job->Stop();
  return nullptr;
}

// 0 for a changeset that the log does not have.
napi_value TimestampAt(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  Log& log = connection->log;
  const Origin* origin = log.FindOrigin(call.Integer(1));
  uint64_t timestamp = 0;
  if (origin != nullptr) {
    const uint64_t sequence = call.Integer(2);
    const int rc =
        log.ForEach(connection, *origin, sequence - 1, sequence, [&](const Record& record) {
          timestamp = record.timestamp;
          return true;
        });
    if (call.Failed(connection, rc)) return nullptr;
  }
  return Number(env, timestamp);
}

}  // namespace

void AddFileJobFunctions(napi_env env, napi_value exports) {
  Export(env, exports,
         {
             {"snapshot", Snapshot},
             {"measure", Measure},
             {"jobProgress", Progress},
             {"stopJob", Stop},
             {"timestampAt", TimestampAt},
         });
}

}  // namespace mergelite
