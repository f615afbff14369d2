// Mutexes are the host's SQLite's: the library links to no other kind.
#pragma once
#include "sqlite_api.h"

namespace mergelite {

class MutexGuard {
 public:
  MutexGuard(const Api* api, sqlite3_mutex* mutex) : api_(api), mutex_(mutex) {
    api_->mutex_enter(mutex_);
  }
  ~MutexGuard() { api_->mutex_leave(mutex_); }
  MutexGuard(const MutexGuard&) = delete;
  MutexGuard& operator=(const MutexGuard&) = delete;

 private:
  const Api* api_;
  sqlite3_mutex* mutex_;
};

}  // namespace mergelite
