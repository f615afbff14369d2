// A database file that is a copy of another one: pages are written into it as SQLite would write
// them, while other connections and processes read it. Through a connection of its own, on any
// thread, one call at a time.
#pragma once
#include <atomic>
#include <vector>

#include "ltx_pages.h"
#include "sqlite_api.h"
#include "wal_index.h"

namespace mergelite {

struct Connection;

class CopyFile {
 public:
  // With the SQLite of `connection`; null where it knows no threads.
  static CopyFile* New(Connection* connection);
  void Retain() { owners_.fetch_add(1, std::memory_order_relaxed); }
  void Release();

  // Each of these returns what SQLite does; message() says more.
  int Open(const Text& file);
  // Keeps other writers out. SQLITE_BUSY: another time.
  int Begin();
  // Writes pages behind the WAL's end, where nobody looks yet. The last ones come with the size of
  // the database, in pages: then they are durable, and readers see all since Begin() at once.
  int Append(const LtxPages& pages, uint32_t commit);
  // Ends what Begin() began; what was appended is gone.
  int Rollback();
  // Moves what readers no longer need from the WAL into the file, and empties the WAL if that is
  // all of it. Waits for nobody.
  int Checkpoint();
  // Whether the file is sound: problems() has the first ones.
  int Check();
  void Close(bool keep_message = false);

  bool is_open() const { return db_ != nullptr; }
  // Since the last Append(), another writer has changed the file. Known after Begin().
  bool is_altered() const { return altered_; }
  uint32_t frames() const { return seen_.frames; }
  size_t page_size() const { return page_size_; }
  const Text& message() const { return message_; }
  const std::vector<Text>& problems() const { return problems_; }

 private:
  CopyFile(const Api* api, const char* vfs) : api_(api), vfs_(vfs) {}
  ~CopyFile() { Close(); }
  int Keep(int rc);
  int Fail(const char* message);
  int Exec(const char* sql);
  int ReadPageSize();
  int Control(int operation, sqlite3_file** file);
  int MapZone(uint32_t zone, uint8_t** memory);
  int BeginWalIfEmpty();
  int WriteFrames(const LtxPages& pages, uint32_t commit);
  int WriteBuffer();
  int Publish(uint32_t commit);

  const Api* api_;
  Text vfs_;
  std::atomic<int> owners_{1};
  sqlite3* db_ = nullptr;
  size_t page_size_ = 0;
  bool writing_ = false;
  bool altered_ = false;
  WalIndexHeader seen_ = {};        // as our last commit left it
  WalIndexHeader header_ = {};      // running, since Begin()
  std::vector<uint32_t> appended_;  // pages, in the order of their frames
  Bytes buffer_;                    // frames to be written at `offset_` of the WAL
  int64_t offset_ = 0;
  Text message_;
  std::vector<Text> problems_;
};

}  // namespace mergelite
