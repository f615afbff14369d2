// What reads the whole file: done on another thread, through a connection of its own, so that
// neither the event loop nor a writer waits for it.
#pragma once
#include <atomic>
#include <vector>

#include "sqlite_api.h"

namespace mergelite {

struct Connection;

class FileJob {
 public:
  // One reading: a number that belongs to `name` of its `kind`.
  struct Reading {
    Text kind, name;
    int64_t value;
  };

  // Null where SQLite knows no threads, or the database is not a file.
  static FileJob* New(Connection* connection);

  // What Run() is to do: copy the database as it is then into a new file, and check the copy ...
  void Snapshot(Text target, bool check);
  // ... or, without that, measure how much of the file belongs to what.

  // On any thread, once.
  void Run();
  // Run() ends soon after, with SQLITE_INTERRUPT.
  void Stop();
  void Retain() { owners_.fetch_add(1, std::memory_order_relaxed); }
  void Release();

  // Of a snapshot, at any time.
  int pages_done() const { return pages_done_.load(std::memory_order_relaxed); }
  int pages() const { return pages_.load(std::memory_order_relaxed); }
  // When Run() is over.
  int rc() const { return rc_; }
  const Text& message() const { return message_; }
  const std::vector<Reading>& readings() const { return readings_; }

 private:
  FileJob(const Api* api, const char* file, const char* vfs);
  ~FileJob();
  int Open(const char* file, int flags, sqlite3** db);
  int Copy(sqlite3* from);
  int Hold(sqlite3* db);
  int CopyPages(sqlite3* from, sqlite3* to);
  int CheckCopy(sqlite3* copy);
  int Measure(sqlite3* db);
  int Collect(sqlite3* db, const char* sql);
  int Keep(sqlite3* db, int rc);
  bool stopped();

  const Api* api_;
  Text file_, vfs_, target_;
  bool check_ = false;
  sqlite3_mutex* guard_;   // of the next two
  sqlite3* db_ = nullptr;  // what Stop() interrupts
  bool stopped_ = false;
  std::atomic<int> pages_done_{0}, pages_{0}, owners_{1};
  int rc_ = SQLITE_OK;
  Text message_;
  std::vector<Reading> readings_;
};

}  // namespace mergelite
