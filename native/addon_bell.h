// The bell: xCommit rings it, JavaScript hears it in a later turn, once for many commits.
#pragma once
#include <atomic>

#include "addon_values.h"

namespace mergelite {

struct Bell {
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
  napi_value result;
  napi_call_function(env, Undefined(env), callback, 0, nullptr, &result);
}

inline void Unhang(int handle, const Bell* bell) {
  Connection* connection = FindConnection(handle);
  if (connection == nullptr || connection->bell_context != bell) return;
  connection->bell = nullptr;
  connection->bell_context = nullptr;
}

inline void FreeBell(napi_env, void* data, void*) {
  auto* bell = static_cast<Bell*>(data);
  Unhang(bell->handle, bell);
  delete bell;
}

inline void HangBell(Call* call, Connection* connection, napi_value callback) {
  auto* bell = new Bell;
  bell->handle = connection->handle;
  napi_create_threadsafe_function(call->env, callback, nullptr, String(call->env, "mergelite"), 0,
                                  1, bell, FreeBell, bell, HearBell, &bell->function);
  napi_unref_threadsafe_function(call->env, bell->function);
  connection->bell = Ring;
  connection->bell_context = bell;
}

inline void TakeDownBell(Connection* connection) {
  auto* bell = static_cast<Bell*>(connection->bell_context);
  if (bell == nullptr) return;
  Unhang(connection->handle, bell);
  napi_release_threadsafe_function(bell->function, napi_tsfn_abort);
}

}  // namespace mergelite
