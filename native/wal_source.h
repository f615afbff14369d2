// Reads what SQLite commits to a WAL, for shipping: through connections of its own, two of which
// take turns in keeping a read transaction open, so that no frame goes before it was read. See
// docs/decisions/0020-shipping-hand-over-hand.md.
#pragma once
#include <atomic>

#include "sqlite_api.h"
#include "wal_scan.h"

namespace mergelite {

struct Connection;

// One operation at a time, on any thread, except for Abandon() and what is marked.
class WalSource {
 public:
  // Null where SQLite knows no threads, or the database is not a file.
  static WalSource* New(Connection* connection);
  void Retain() { owners_.fetch_add(1, std::memory_order_relaxed); }
  void Release();

  // Begins the first read transaction. Every operation gives a result code of SQLite.
  int Open();
  // Begins the next one; `end` is published no earlier than what it reads, and with `exact` is what
  // it reads.
  int Next(bool exact, WalIndexHead* end);
  // Ends the older one, or with `newer` the newer one.
  int LetGo(bool newer);
  // From `from` to `end`, both of which a held transaction must keep. A database that had `before`
  // pages may have grown by pages that were never written; 0 for all pages there are.
  int Scan(const WalPlace& from, const WalIndexHead& end, uint32_t before, WalScan* scan);
  // Pages by their numbers and frames in the WAL of `salt`, one after the other. When `whole` is
  // true and the WAL begins anew meanwhile, the database file has them.
  int Pages(const WalSalt& salt, const uint32_t* pages, const uint32_t* frames, size_t count,
            bool whole, uint8_t* out);
  // What was committed behind the place up to which the caller has read, and what its pages hold.
  struct Carried {
    bool is_there = false;
    WalIndexHead end;
    WalScan scan;
    Bytes data;
  };
  // For how long writers are kept out: until the end has been written back, or all of it.
  enum class Barrier { kNone, kEnd, kWhole };
  // Writes the WAL back, and when that came to the end moves the read transaction there, so that
  // the next writer begins the WAL anew. What was committed since `captured` is `carried`: it may
  // be gone from the WAL then.
  int Checkpoint(Barrier barrier, const WalPlace& captured, uint32_t before, bool* moved,
                 Carried* carried);
  // What can be waited for is over, nothing is held, and the WAL stays.
  void Close();

  // From a commit that leaves `frames` in the WAL. True when whoever reads it should hear of that:
  // of the first commit since its end was last looked for, and of the one that makes it `many`
  // frames.
  bool Note(int frames, int many);
  // Of the commits noted there are many.
  bool has_many() const { return noted_.load() == Noted::kMany; }
  // Whether anybody may have committed since the end was last looked for; costs no system call. Not
  // while an operation is under way.
  bool HasMoved();
  // From a commit, when the WAL has become too large: gives up the chain unless an operation is
  // under way. Whether nothing is held now.
  bool Abandon();

  uint32_t page_size() const { return page_size_; }
  const Text& message() const { return message_; }

  // Around every operation.
  void Enter() { api_->mutex_enter(busy_); }
  void Leave() { api_->mutex_leave(busy_); }

 private:
  WalSource(const Api* api, const char* file, const char* vfs);
  ~WalSource();
  int Connect(sqlite3** db);
  void KeepLittle(sqlite3* db);
  bool IsWal(sqlite3* db);
  int BeginReading(sqlite3* db);
  int Execute(sqlite3* db, const char* sql);
  bool ReadIndex(sqlite3* db, WalIndexHead* head);
  sqlite3_file* FileOf(int control);
  int ReadAt(sqlite3_file* file, int64_t at, uint8_t* out, size_t size);
  int ReadHead(WalHead* head);
  int ReadFrames(const WalHead& head, const WalPlace& from, const WalIndexHead& end, WalScan* scan);
  int PagesOfDatabase(const uint32_t* pages, size_t count, uint8_t* out);
  int SizeOfDatabase(const WalIndexHead& end, uint32_t* pages);
  bool KeepOut();
  int WriteBack(bool waits, int* frames);
  int MoveToEnd(const WalPlace& captured, uint32_t before, int frames, bool* moved,
                Carried* carried);
  int Fail(sqlite3* db, int rc);
  int Fail(int rc, const char* message);

  const Api* api_;
  Text file_, vfs_;
  sqlite3_mutex* busy_;
  sqlite3 *held_ = nullptr, *next_ = nullptr, *writer_ = nullptr;
  bool holds_ = false, holds_next_ = false, abandoned_ = false;
  uint32_t page_size_ = 0;
  enum class Noted { kNothing, kSome, kMany };
  std::atomic<Noted> noted_{Noted::kNothing};
  std::atomic<int> seen_frames_{0};
  WalIndexHead seen_;
  std::atomic<int> owners_{1};
  Text message_;
};

}  // namespace mergelite
