#include "connection.h"

#include <atomic>

#include "merge.h"

namespace mergelite {
namespace {

// A spin lock: it is held for a few instructions, and needs no library.
class Guard {
 public:
  Guard() {
    while (flag_.test_and_set(std::memory_order_acquire)) {
    }
  }
  ~Guard() { flag_.clear(std::memory_order_release); }

 private:
  static std::atomic_flag flag_;
};
std::atomic_flag Guard::flag_ = ATOMIC_FLAG_INIT;

// Handles are never used twice; the table grows with the largest number of open connections.
struct Slot {
  int handle;
  Connection* connection;
};
Slot* g_slots = nullptr;
size_t g_slot_count = 0;
int g_next_handle = 1;

// SQLite counts milliseconds from the Julian epoch.
constexpr int64_t kJulianToUnixMs = 210866760000000;

const char* HintFor(int rc) {
  switch (rc & 0xff) {
    case SQLITE_FULL:
      return "Free space on the disk, then try again.";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "Another connection holds the file: try again, or set a busy_timeout.";
    case SQLITE_NOMEM:
      return "The process is out of memory: nothing was changed, try again with less.";
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      return "Look at the disk and at the rights on the file, then try again.";
    case SQLITE_INTERRUPT:
      return "Nothing was changed: try again.";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return "Run `PRAGMA integrity_check`; restore the file from a backup.";
    default:
      return "";
  }
}

}  // namespace

Connection::Connection() = default;
Connection::~Connection() = default;

int64_t Connection::NowMs() const {
  if (fixed_clock_ms != 0) return fixed_clock_ms;
  sqlite3_vfs* vfs = api->vfs_find(nullptr);
  sqlite3_int64 now = 0;
  if (vfs == nullptr || vfs->iVersion < 2 || vfs->xCurrentTimeInt64(vfs, &now) != SQLITE_OK) {
    return kEpochMs;
  }
  return now - kJulianToUnixMs;
}

uint64_t Connection::Randomness() {
  uint64_t bits = 0;
  if (seed == 0) {
    api->randomness(sizeof bits, &bits);
    return bits;
  }
  // SplitMix64.
  seed += 0x9e3779b97f4a7c15;
  bits = seed;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
  return bits ^ (bits >> 31);
}

int Connection::Check(int rc) {
  if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE) return rc;
  // A virtual table of ours has already said more than SQLite's message does.
  if (rc == SQLITE_ERROR && error.code[0] != 0) return rc;
  error.code = "SQLITE";
  // What failed may have been no statement: then SQLite's message is about something else.
  const bool known = (api->extended_errcode(db) & 0xff) == (rc & 0xff);
  error.message = Text(known ? api->errmsg(db) : api->errstr(rc));
  error.hint = Text(HintFor(rc));
  return rc;
}

void Connection::EnforceChecks() {
  constexpr int kTriesMax = 1000;
  for (int tries = 0; tries < kTriesMax; tries++) {
    const char* sql = "PRAGMA ignore_check_constraints = OFF";
    if (api->exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return;
  }
}

int Connection::Fail(const char* code, const char* message, const char* hint) {
  error.code = code;
  error.message = Text(message);
  error.hint = Text(hint);
  return SQLITE_ERROR;
}

void Connection::Finalize() {
  finalized = true;
  capture.Finalize();
  log.Finalize();
  refusals.Finalize();
  catalog.Finalize();
  if (merge != nullptr) merge->Finalize();
  checkpoints.Stop();
}

int RegisterConnection(Connection* connection) {
  Guard guard;
  const int handle = g_next_handle++;
  for (size_t i = 0; i < g_slot_count; i++) {
    if (g_slots[i].connection != nullptr) continue;
    g_slots[i] = {handle, connection};
    return handle;
  }
  auto* slots = static_cast<Slot*>(realloc(g_slots, (g_slot_count + 1) * sizeof(Slot)));
  if (slots == nullptr) abort();
  g_slots = slots;
  g_slots[g_slot_count++] = {handle, connection};
  return handle;
}

void UnregisterConnection(int handle) {
  Guard guard;
  for (size_t i = 0; i < g_slot_count; i++) {
    if (g_slots[i].handle == handle) g_slots[i] = {0, nullptr};
  }
}

Connection* FindConnection(int handle) {
  Guard guard;
  for (size_t i = 0; i < g_slot_count; i++) {
    if (g_slots[i].handle == handle) return g_slots[i].connection;
  }
  return nullptr;
}

}  // namespace mergelite
