#include "wal_source.h"

#include "connection.h"
#include "mutex_guard.h"

namespace mergelite {
namespace {

constexpr int kBusyMs = 1000;
// How often the end may move while a read transaction begins, before somebody else has a try.
constexpr int kTriesMax = 200;
constexpr const char* kTooLarge = "the WAL had become too large";
constexpr const char* kNotWal =
    "the database is not in WAL mode: run PRAGMA journal_mode = WAL before it is shipped";

}  // namespace

WalSource* WalSource::New(Connection* connection) {
  const Api* api = connection->api;
  const char *file, *vfs;
  if (!OpensOnOtherThreads(api, connection->db, &file, &vfs)) return nullptr;
  auto* source = new WalSource(api, file, vfs);
  if (source->busy_ != nullptr) return source;
  delete source;
  return nullptr;
}

WalSource::WalSource(const Api* api, const char* file, const char* vfs)
    : api_(api), file_(file), vfs_(vfs), busy_(api->mutex_alloc(SQLITE_MUTEX_FAST)) {}

WalSource::~WalSource() {
  Close();
  api_->mutex_free(busy_);
}

void WalSource::Release() {
  if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

int WalSource::Open() {
  message_.Clear();
  abandoned_ = false;
  int rc = held_ != nullptr ? SQLITE_OK : Connect(&held_);
  if (rc == SQLITE_OK && next_ == nullptr) rc = Connect(&next_);
  if (holds_) Execute(held_, "ROLLBACK");
  holds_ = false;
  if (rc == SQLITE_OK) rc = BeginReading(held_);
  if (rc != SQLITE_OK) return rc;
  holds_ = true;
  Statement query;
  rc = query.Prepare(api_, held_, "PRAGMA main.page_size");
  if (rc == SQLITE_OK) rc = query.Step();
  if (rc != SQLITE_ROW) return Fail(held_, rc);
  page_size_ = static_cast<uint32_t>(query.ColumnInteger(0));
  return SQLITE_OK;
}

int WalSource::Connect(sqlite3** db) {
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
  int rc = api_->open_v2(file_.c_str(), db, flags, vfs_.c_str());
  if (rc != SQLITE_OK) return Fail(*db, rc);
  api_->busy_timeout(*db, kBusyMs);
  // There may be thousands of databases, and these connections look at one page.
  api_->db_config(*db, SQLITE_DBCONFIG_LOOKASIDE, nullptr, 0, 0);
  // Who closes last would delete the WAL, and with it the place from which shipping goes on.
  int persist = 1;
  api_->db_config(*db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  api_->file_control(*db, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
  rc = Execute(*db, "PRAGMA wal_autocheckpoint = 0; PRAGMA main.schema_version");
  if (rc != SQLITE_OK) return rc;
  if (!IsWal(*db)) return Fail(SQLITE_MISUSE, kNotWal);
  KeepLittle(*db);
  return SQLITE_OK;
}

// A page cache begins with room for twenty pages, unless it is told to be as small as this. Whoever
// tells it has SQLite read the schema, which nobody needs afterwards; where that fails, the cache
// is as large as any.
void WalSource::KeepLittle(sqlite3* db) {
  const char* sql = "PRAGMA main.cache_size = 1; PRAGMA writable_schema = RESET";
  api_->exec(db, sql, nullptr, nullptr, nullptr);
  api_->db_release_memory(db);
}

// The journal mode as the database file has it. Whoever asks SQLite has it read the whole schema.
bool WalSource::IsWal(sqlite3* db) {
  sqlite3_file* file = nullptr;
  api_->file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (file == nullptr || file->pMethods == nullptr) return false;
  uint8_t versions[2] = {};
  constexpr int kVersionsAt = 18;
  constexpr uint8_t kWalVersion = 2;
  const int rc = file->pMethods->xRead(file, versions, sizeof versions, kVersionsAt);
  return rc == SQLITE_OK && versions[0] == kWalVersion && versions[1] == kWalVersion;
}

int WalSource::BeginReading(sqlite3* db) {
  return Execute(db, "BEGIN; PRAGMA main.schema_version");
}

bool WalSource::Note(int frames, int many) {
  const int seen = seen_frames_.load(std::memory_order_relaxed);
  // A WAL that is smaller than it was has begun anew.
  const int fresh = frames < seen ? frames : frames - seen;
  const Noted noted = fresh >= many ? Noted::kMany : Noted::kSome;
  // Nothing is lost to Next(): a commit is published before it is noted, and it forgets what was
  // noted before it looks at what is published.
  if (noted_.load() >= noted) return false;
  noted_.store(noted);
  return true;
}

int WalSource::Next(bool exact, WalIndexHead* end) {
  message_.Clear();
  noted_.store(Noted::kNothing);
  if (abandoned_ || !holds_) return Fail(SQLITE_ABORT, kTooLarge);
  if (holds_next_) return Fail(SQLITE_MISUSE, "two readers are held already");
  for (int tries = 0; tries < kTriesMax; tries++) {
    WalIndexHead before;
    const bool known = ReadIndex(held_, &before);
    const int rc = BeginReading(next_);
    if (rc != SQLITE_OK) return rc;
    const bool read = ReadIndex(next_, end);
    const bool same = known && read && before.change == end->change &&
                      before.end.salt == end->end.salt && before.end.frame == end->end.frame;
    if (read && (!exact || same)) {
      holds_next_ = true;
      seen_ = *end;
      seen_frames_.store(static_cast<int>(end->end.frame), std::memory_order_relaxed);
      return SQLITE_OK;
    }
    Execute(next_, "ROLLBACK");
  }
  return Fail(SQLITE_BUSY, "commits follow each other too fast");
}

int WalSource::LetGo(bool newer) {
  if (!holds_next_) return SQLITE_OK;
  holds_next_ = false;
  if (!newer) {
    sqlite3* older = held_;
    held_ = next_;
    next_ = older;
  }
  const int rc = Execute(next_, "ROLLBACK");
  api_->db_release_memory(next_);
  return rc;
}

int WalSource::Scan(const WalPlace& from, const WalIndexHead& end, uint32_t before, WalScan* scan) {
  message_.Clear();
  if (abandoned_) return Fail(SQLITE_ABORT, kTooLarge);
  int rc = SizeOfDatabase(end, &scan->size);
  if (rc != SQLITE_OK) return rc;
  scan->least = before;
  // The WAL began anew since: what it had was read before. Frames are read from its beginning then.
  const bool goes_on = from.salt == end.end.salt && from.frame > 0;
  const WalPlace begin = goes_on ? from : WalPlace{end.end.salt, 0, {}};
  // Frames that were read may be lost with the machine's power, and others written in their places.
  const bool is_other = goes_on && begin.frame == end.end.frame && !(begin.sum == end.end.sum);
  if (begin.frame > end.end.frame || is_other) {
    scan->broken = true;
    return SQLITE_OK;
  }
  if (begin.frame < end.end.frame) {
    WalHead head;
    rc = ReadHead(&head);
    if (rc != SQLITE_OK) return rc;
    scan->broken = !(head.salt == end.end.salt) || head.page_size != page_size_;
    if (!scan->broken) rc = ReadFrames(head, begin, end, scan);
    if (rc != SQLITE_OK) return rc;
    // A WAL that begins anew under a reader of all pages has been written back whole.
    if (scan->broken && before == 0) {
      rc = ReadHead(&head);
      if (rc != SQLITE_OK) return rc;
      scan->broken = head.salt == end.end.salt;
      scan->pages.clear();
      scan->frames.clear();
    }
    if (scan->broken) return SQLITE_OK;
  }
  scan->KeepLast();
  scan->AddUnwritten(page_size_);
  return SQLITE_OK;
}

int WalSource::ReadFrames(const WalHead& head, const WalPlace& from, const WalIndexHead& end,
                          WalScan* scan) {
  const size_t frame_bytes = kWalFrameHeadBytes + page_size_;
  const uint32_t at_once = static_cast<uint32_t>(256 * 1024 / frame_bytes + 1);
  Bytes buffer;
  sqlite3_file* file = FileOf(SQLITE_FCNTL_JOURNAL_POINTER);
  if (file == nullptr) return Fail(SQLITE_IOERR, "the WAL is not open");
  WalSum sum = from.frame == 0 ? head.sum : from.sum;
  uint32_t last_commit = 0;
  for (uint32_t done = from.frame; done < end.end.frame;) {
    const uint32_t left = end.end.frame - done;
    const uint32_t count = left < at_once ? left : at_once;
    uint8_t* bytes = buffer.Reserve(count * frame_bytes);
    const int64_t at = kWalHeadBytes + static_cast<int64_t>(done) * frame_bytes;
    const int rc = ReadAt(file, at, bytes, count * frame_bytes);
    if (rc != SQLITE_OK) return rc;
    for (uint32_t i = 0; i < count; i++) {
      WalFrameHead frame;
      if (!ReadWalFrame({bytes + i * frame_bytes, frame_bytes}, head, &sum, &frame)) {
        scan->broken = true;
        return SQLITE_OK;
      }
      done++;
      scan->pages.push_back(frame.page);
      scan->frames.push_back(done);
      if (frame.pages == 0) continue;
      last_commit = done;
      scan->AddCommit(frame.pages);
    }
  }
  scan->broken = last_commit != end.end.frame || !(sum == end.end.sum);
  return SQLITE_OK;
}

int WalSource::Pages(const WalSalt& salt, const uint32_t* pages, const uint32_t* frames,
                     size_t count, bool whole, uint8_t* out) {
  message_.Clear();
  // Without a reader the database may have what was committed later: some pages would be newer.
  if (abandoned_) return Fail(SQLITE_ABORT, kTooLarge);
  sqlite3_file* wal = FileOf(SQLITE_FCNTL_JOURNAL_POINTER);
  if (wal == nullptr) return Fail(SQLITE_IOERR, "the WAL is not open");
  bool from_wal = false;
  for (size_t i = 0; i < count; i++) {
    uint8_t* page = out + i * page_size_;
    if (frames[i] == 0) {
      const int rc = PagesOfDatabase(&pages[i], 1, page);
      if (rc != SQLITE_OK) return rc;
      continue;
    }
    from_wal = true;
    const int64_t frame_bytes = kWalFrameHeadBytes + page_size_;
    const int64_t at = kWalHeadBytes + (frames[i] - 1) * frame_bytes + kWalFrameHeadBytes;
    const int rc = ReadAt(wal, at, page, page_size_);
    if (rc != SQLITE_OK) return rc;
  }
  if (!from_wal) return SQLITE_OK;
  // The header is the first thing that a WAL writes when it begins anew.
  WalHead head;
  const int rc = ReadHead(&head);
  if (rc != SQLITE_OK) return rc;
  if (head.salt == salt) return SQLITE_OK;
  return whole ? PagesOfDatabase(pages, count, out) : Fail(SQLITE_ABORT, "the WAL began anew");
}

int WalSource::PagesOfDatabase(const uint32_t* pages, size_t count, uint8_t* out) {
  sqlite3_file* file = FileOf(SQLITE_FCNTL_FILE_POINTER);
  if (file == nullptr) return Fail(SQLITE_IOERR, "the database is not open");
  for (size_t i = 0; i < count; i++) {
    const int64_t at = static_cast<int64_t>(pages[i] - 1) * page_size_;
    const int rc = ReadAt(file, at, out + i * page_size_, page_size_);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

int WalSource::SizeOfDatabase(const WalIndexHead& end, uint32_t* pages) {
  *pages = end.pages;
  if (end.pages != 0) return SQLITE_OK;
  sqlite3_file* file = FileOf(SQLITE_FCNTL_FILE_POINTER);
  sqlite3_int64 bytes = 0;
  const int rc = file == nullptr ? SQLITE_IOERR : file->pMethods->xFileSize(file, &bytes);
  *pages = static_cast<uint32_t>(bytes / page_size_);
  return rc == SQLITE_OK ? rc : Fail(rc, "the size of the database cannot be read");
}

bool WalSource::HasMoved() {
  if (api_->mutex_try(busy_) != SQLITE_OK) return false;
  WalIndexHead now;
  const bool same = holds_ && ReadIndex(held_, &now) && now.change == seen_.change &&
                    now.end.salt == seen_.end.salt && now.end.frame == seen_.end.frame;
  Leave();
  return !same;
}

bool WalSource::Abandon() {
  if (api_->mutex_try(busy_) != SQLITE_OK) return false;
  abandoned_ = true;
  LetGo(false);
  if (holds_) Execute(held_, "ROLLBACK");
  holds_ = false;
  Leave();
  return true;
}

void WalSource::Close() {
  for (sqlite3** db : {&held_, &next_, &writer_}) {
    api_->close(*db);
    *db = nullptr;
  }
  holds_ = holds_next_ = false;
}

int WalSource::Execute(sqlite3* db, const char* sql) {
  const int rc = api_->exec(db, sql, nullptr, nullptr, nullptr);
  return rc == SQLITE_OK ? rc : Fail(db, rc);
}

bool WalSource::ReadIndex(sqlite3* db, WalIndexHead* head) {
  sqlite3_file* file = nullptr;
  api_->file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  if (file == nullptr || file->pMethods == nullptr || file->pMethods->iVersion < 2) return false;
  void volatile* region = nullptr;
  constexpr int kRegionBytes = 32 * 1024;
  if (file->pMethods->xShmMap(file, 0, kRegionBytes, 0, &region) != SQLITE_OK) return false;
  if (region == nullptr) return false;
  const auto* shared = static_cast<const volatile uint8_t*>(region);
  for (int tries = 0; tries < kTriesMax; tries++) {
    // A writer writes the second copy first, and this reads the first one first.
    uint8_t copies[2][kWalIndexHeadBytes];
    for (int copy = 0; copy < 2; copy++) {
      for (size_t i = 0; i < kWalIndexHeadBytes; i++) {
        copies[copy][i] = shared[static_cast<size_t>(copy) * kWalIndexHeadBytes + i];
      }
      file->pMethods->xShmBarrier(file);
    }
    const Span first{copies[0], kWalIndexHeadBytes}, second{copies[1], kWalIndexHeadBytes};
    if (ReadWalIndexHead(first, second, head)) return true;
  }
  return false;
}

sqlite3_file* WalSource::FileOf(int control) {
  sqlite3_file* file = nullptr;
  if (held_ != nullptr) api_->file_control(held_, "main", control, &file);
  return file == nullptr || file->pMethods == nullptr ? nullptr : file;
}

int WalSource::ReadAt(sqlite3_file* file, int64_t at, uint8_t* out, size_t size) {
  const int rc = file->pMethods->xRead(file, out, static_cast<int>(size), at);
  // What lies beyond the end is zeros.
  return rc == SQLITE_OK || rc == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : Fail(rc, "a read failed");
}

int WalSource::ReadHead(WalHead* head) {
  uint8_t bytes[kWalHeadBytes];
  sqlite3_file* file = FileOf(SQLITE_FCNTL_JOURNAL_POINTER);
  if (file == nullptr) return Fail(SQLITE_IOERR, "the WAL is not open");
  const int rc = ReadAt(file, 0, bytes, sizeof bytes);
  if (rc != SQLITE_OK) return rc;
  if (!ReadWalHead({bytes, sizeof bytes}, head)) *head = {};
  return SQLITE_OK;
}

int WalSource::Fail(sqlite3* db, int rc) {
  return Fail(rc, db == nullptr ? api_->errstr(rc) : api_->errmsg(db));
}

int WalSource::Fail(int rc, const char* message) {
  if (message_.empty()) message_ << message;
  return rc;
}

}  // namespace mergelite
