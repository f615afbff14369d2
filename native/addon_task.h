// A piece of work for a thread of libuv's pool, answered by a promise.
#pragma once
#include "addon_values.h"

namespace mergelite {

// `Work` derives from this and has
//   void Run();                     on the other thread
//   const char* failure() const;    null when all went well, else what the promise is rejected with
//   napi_value Answer(napi_env);    what it is resolved with
// and gives back in its destructor, on JavaScript's thread, what it took.
template <class Work>
class Task {
 public:
  // Values whose memory Run() uses; there are few of them.
  void Hold(napi_env env, napi_value value) {
    if (napi_create_reference(env, value, 1, &held_[held_count_]) == napi_ok) held_count_++;
  }

  // A promise; null with an exception pending. Owns `work` from here on.
  static napi_value Start(napi_env env, Work* work) {
    Task* task = work;
    napi_value promise = nullptr;
    if (napi_create_promise(env, &task->deferred_, &promise) == napi_ok &&
        napi_create_async_work(env, nullptr, String(env, "mergelite"), OnThread, OnLoop, work,
                               &task->work_) == napi_ok &&
        napi_queue_async_work(env, task->work_) == napi_ok) {
      return promise;
    }
    Free(env, work);
    Throw(env, "SQLITE", "no thread could be had", "");
    return nullptr;
  }

 private:
  static constexpr size_t kHeldMax = 4;

  static void OnThread(napi_env, void* data) { static_cast<Work*>(data)->Run(); }

  static void OnLoop(napi_env env, napi_status, void* data) {
    auto* work = static_cast<Work*>(data);
    const Task* task = work;
    const char* failure = work->failure();
    if (failure == nullptr) {
      napi_resolve_deferred(env, task->deferred_, work->Answer(env));
    } else {
      napi_value error = nullptr;
      napi_create_error(env, String(env, "SQLITE"), String(env, failure), &error);
      napi_reject_deferred(env, task->deferred_, error);
    }
    Free(env, work);
  }

  static void Free(napi_env env, Work* work) {
    Task* task = work;
    for (size_t i = 0; i < task->held_count_; i++) napi_delete_reference(env, task->held_[i]);
    if (task->work_ != nullptr) napi_delete_async_work(env, task->work_);
    delete work;
  }

  napi_async_work work_ = nullptr;
  napi_deferred deferred_ = nullptr;
  napi_ref held_[kHeldMax] = {};
  size_t held_count_ = 0;
};

// An object of ours that JavaScript holds, with a count of its owners.
template <class Owned>
Owned* ExternalOf(const Call& call, size_t index) {
  void* owned = nullptr;
  napi_get_value_external(call.env, call.at(index), &owned);
  return static_cast<Owned*>(owned);
}

// Takes over one count.
template <class Owned>
napi_value External(napi_env env, Owned* owned) {
  napi_value external = nullptr;
  const napi_finalize release = [](napi_env, void* data, void*) {
    static_cast<Owned*>(data)->Release();
  };
  if (napi_create_external(env, owned, release, nullptr, &external) != napi_ok) owned->Release();
  return external;
}

}  // namespace mergelite
