// A lock among processes that ends with the process that has it, however that ends: SQLite's own,
// on a file that stays empty. Taken through the VFS, without a connection: there may be thousands.
#pragma once
#include "sqlite_api.h"

namespace mergelite {

struct Connection;

class FileLock {
 public:
  // SQLITE_BUSY when somebody has it, this process included. The file is made, and stays: whoever
  // deleted it would let in one who waits for the old file beside one who makes a new one.
  static int Take(Connection* connection, const char* path, FileLock** lock);
  // Idempotent.
  void Unlock();
  // Of the one owner.
  void Release() { delete this; }

 private:
  explicit FileLock(const Api* api) : api_(api) {}
  ~FileLock();
  int Open(sqlite3_vfs* vfs, const char* path);

  const Api* api_;
  Bytes path_;
  sqlite3_file* file_ = nullptr;
};

}  // namespace mergelite
