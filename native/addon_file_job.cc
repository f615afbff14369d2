#include "addon_file_job.h"

#include "addon_values.h"
#include "connection.h"
#include "file_job.h"

namespace mergelite {
namespace {

struct Work {
  FileJob* job;
  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
};

// A worker that is terminated waits for its works: they must not take long then.
void StopJob(void* data) { static_cast<FileJob*>(data)->Stop(); }

void RunWork(napi_env, void* data) { static_cast<Work*>(data)->job->Run(); }

napi_value Failure(napi_env env, const FileJob& job) {
  napi_value error = nullptr;
  const char* message = job.message().empty() ? "the copy was stopped" : job.message().c_str();
  napi_create_error(env, String(env, "SQLITE"), String(env, message), &error);
  return error;
}

napi_value ReadingsOf(napi_env env, const FileJob& job) {
  napi_value list = Array(env);
  for (const auto& reading : job.readings()) {
    Object entry(env);
    entry.Set("kind", String(env, reading.kind.span()));
    entry.Set("name", String(env, reading.name.span()));
    entry.Set("value", static_cast<uint64_t>(reading.value));
    Push(env, list, entry);
  }
  return list;
}

void EndWork(napi_env env, napi_status, void* data) {
  auto* work = static_cast<Work*>(data);
  const FileJob& job = *work->job;
  if (job.rc() == SQLITE_OK) {
    napi_resolve_deferred(env, work->deferred, ReadingsOf(env, job));
  } else {
    napi_reject_deferred(env, work->deferred, Failure(env, job));
  }
  napi_delete_async_work(env, work->work);
  napi_remove_env_cleanup_hook(env, StopJob, work->job);
  work->job->Release();
  delete work;
}

void ReleaseJob(napi_env, void* data, void*) { static_cast<FileJob*>(data)->Release(); }

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
  auto* work = new Work{job};
  napi_value promise = nullptr, external = nullptr;
  const bool is_queued = napi_create_promise(env, &work->deferred, &promise) == napi_ok &&
                         napi_create_async_work(env, nullptr, String(env, "mergelite"), RunWork,
                                                EndWork, work, &work->work) == napi_ok &&
                         napi_add_env_cleanup_hook(env, StopJob, job) == napi_ok &&
                         napi_queue_async_work(env, work->work) == napi_ok;
  if (!is_queued) {
    napi_remove_env_cleanup_hook(env, StopJob, job);
    if (work->work != nullptr) napi_delete_async_work(env, work->work);
    job->Release();
    delete work;
    Throw(env, "SQLITE", "no thread could be had", "");
    return nullptr;
  }
  job->Retain();
  if (napi_create_external(env, job, ReleaseJob, nullptr, &external) != napi_ok) job->Release();
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

FileJob* JobOf(const Call& call) {
  void* job = nullptr;
  napi_get_value_external(call.env, call.at(0), &job);
  return static_cast<FileJob*>(job);
}

napi_value Progress(napi_env env, napi_callback_info info) {
  const FileJob* job = JobOf(Call(env, info));
  if (job == nullptr) return nullptr;
  return Object(env)
      .Set("done", static_cast<uint64_t>(job->pages_done()))
      .Set("pages", static_cast<uint64_t>(job->pages()));
}

napi_value Stop(napi_env env, napi_callback_info info) {
  FileJob* job = JobOf(Call(env, info));
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
