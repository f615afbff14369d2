// What commits set going in Node. The bell: xCommit rings it, JavaScript hears it in a later turn,
// once for many commits. Checkpoints: on a thread of the pool.
#pragma once
#include <atomic>

#include "addon_values.h"

namespace mergelite {

struct Bell {
  napi_env env = nullptr;
  napi_threadsafe_function function = nullptr;
  std::atomic<bool> rung{false};
  int handle = 0;
};

inline void Ring(void* context) {
  auto* bell = static_cast<Bell*>(context);
  if (bell->rung.exchange(true)) return;
  napi_call_threadsafe_function(bell->function, nullptr, napi_tsfn_nonblocking);
}

inline void HearBell(napi_env env, napi_value callback, void* context, void*) {
  // What was still queued when the environment went down: the bell is freed by then.
  if (env == nullptr) return;
  auto* bell = static_cast<Bell*>(context);
  bell->rung.store(false);
  if (FindConnection(bell->handle) == nullptr) return;
  napi_value result = nullptr;
  napi_call_function(env, Undefined(env), callback, 0, nullptr, &result);
}

inline void Unhang(int handle, const Bell* bell) {
  Connection* connection = FindConnection(handle);
  if (connection == nullptr || connection->bell_context != bell) return;
  connection->bell = nullptr;
  connection->bell_context = nullptr;
  connection->checkpoints.launch = nullptr;
}

struct CheckpointWork {
  CheckpointJob* job;
  napi_async_work work = nullptr;
};

inline void RunCheckpoint(napi_env, void* data) {
  auto* work = static_cast<CheckpointWork*>(data);
  work->job->Run();
}

inline void EndCheckpoint(napi_env env, napi_status, void* data) {
  auto* work = static_cast<CheckpointWork*>(data);
  napi_delete_async_work(env, work->work);
  work->job->Release();
  delete work;
}

// Called from a commit, so inside a call from JavaScript on the connection's own thread.
inline bool LaunchCheckpoint(void* context, CheckpointJob* job) {
  napi_env env = static_cast<Bell*>(context)->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return false;
  auto* work = new CheckpointWork{job};
  const bool queued = napi_create_async_work(env, nullptr, String(env, "mergelite"), RunCheckpoint,
                                             EndCheckpoint, work, &work->work) == napi_ok &&
                      napi_queue_async_work(env, work->work) == napi_ok;
  napi_close_handle_scope(env, scope);
  if (queued) return true;
  if (work->work != nullptr) napi_delete_async_work(env, work->work);
  delete work;
  return false;
}

inline void FreeBell(napi_env, void* data, void*) {
  auto* bell = static_cast<Bell*>(data);
  Unhang(bell->handle, bell);
  delete bell;
}

inline void HangBell(Call* call, Connection* connection, napi_value callback) {
  auto* bell = new Bell;
  bell->env = call->env;
  bell->handle = connection->handle;
  napi_create_threadsafe_function(call->env, callback, nullptr, String(call->env, "mergelite"), 0,
                                  1, bell, FreeBell, bell, HearBell, &bell->function);
  napi_unref_threadsafe_function(call->env, bell->function);
  connection->bell = Ring;
  connection->bell_context = bell;
  connection->checkpoints.launch = LaunchCheckpoint;
  connection->checkpoints.launch_context = bell;
}

inline void TakeDownBell(Connection* connection) {
  auto* bell = static_cast<Bell*>(connection->bell_context);
  if (bell == nullptr) return;
  Unhang(connection->handle, bell);
  napi_release_threadsafe_function(bell->function, napi_tsfn_abort);
}

}  // namespace mergelite
