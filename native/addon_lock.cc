#include "addon_lock.h"

#include "addon_task.h"
#include "file_lock.h"

namespace mergelite {
namespace {

// lockFile(handle, path): null when somebody has it
napi_value Lock(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  FileLock* lock = nullptr;
  const Text path = call.String(1);
  const int rc = FileLock::Take(connection, path.c_str(), &lock);
  if (rc == SQLITE_OK) return External(env, lock);
  if (rc != SQLITE_BUSY) {
    Throw(env, "SQLITE", connection->api->errstr(rc), "");
    return nullptr;
  }
  napi_value none = nullptr;
  napi_get_null(env, &none);
  return none;
}

// unlockFile(lock)
napi_value Unlock(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* lock = ExternalOf<FileLock>(call, 0);
  if (lock != nullptr) lock->Unlock();
  return Undefined(env);
}

}  // namespace

void AddLockFunctions(napi_env env, napi_value exports) {
  Export(env, exports, {{"lockFile", Lock}, {"unlockFile", Unlock}});
}

}  // namespace mergelite
