#include "file_lock.h"

#include "connection.h"

namespace mergelite {

int FileLock::Take(Connection* connection, const char* path, FileLock** lock) {
  const Api* api = connection->api;
  *lock = nullptr;
  sqlite3_vfs* vfs = nullptr;
  api->file_control(connection->db, "main", SQLITE_FCNTL_VFS_POINTER, &vfs);
  if (vfs == nullptr) return SQLITE_MISUSE;
  auto* taken = new FileLock(api);
  int rc = taken->Open(vfs, path);
  const sqlite3_io_methods* methods = rc == SQLITE_OK ? taken->file_->pMethods : nullptr;
  if (rc == SQLITE_OK) rc = methods->xLock(taken->file_, SQLITE_LOCK_SHARED);
  // One process has it at a time; beyond it SQLite locks only against readers.
  if (rc == SQLITE_OK) rc = methods->xLock(taken->file_, SQLITE_LOCK_RESERVED);
  if (rc == SQLITE_OK) {
    *lock = taken;
  } else {
    taken->Release();
  }
  return rc;
}

FileLock::~FileLock() { Unlock(); }

int FileLock::Open(sqlite3_vfs* vfs, const char* path) {
  // A VFS may look for parameters behind the name, which end at an empty one.
  constexpr uint8_t kEnd[4] = {};
  path_.Append(path, strlen(path));
  path_.Append(kEnd, sizeof kEnd);
  const auto size = static_cast<size_t>(vfs->szOsFile);
  file_ = static_cast<sqlite3_file*>(api_->malloc64(size));
  if (file_ == nullptr) return SQLITE_NOMEM;
  memset(file_, 0, size);
  const int flags = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  int opened = 0;
  return vfs->xOpen(vfs, reinterpret_cast<const char*>(path_.data()), file_, flags, &opened);
}

void FileLock::Unlock() {
  if (file_ == nullptr) return;
  if (file_->pMethods != nullptr) {
    file_->pMethods->xUnlock(file_, SQLITE_LOCK_NONE);
    file_->pMethods->xClose(file_);
  }
  api_->free(file_);
  file_ = nullptr;
}

}  // namespace mergelite
