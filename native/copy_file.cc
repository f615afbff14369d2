#include "copy_file.h"

#include "connection.h"

namespace mergelite {
namespace {

// SQLite's VFS takes writes of less than 128 KiB.
constexpr size_t kWriteBytes = 64 * 1024;

int64_t FrameOffset(uint32_t frames, size_t page_size) {
  return static_cast<int64_t>(kWalHeadBytes) +
         static_cast<int64_t>(frames) * static_cast<int64_t>(kWalFrameHeadBytes + page_size);
}

}  // namespace

CopyFile* CopyFile::New(Connection* connection) {
  const Api* api = connection->api;
  sqlite3_vfs* vfs = nullptr;
  api->file_control(connection->db, "main", SQLITE_FCNTL_VFS_POINTER, &vfs);
  if (api->xthreadsafe() == 0 || vfs == nullptr) return nullptr;
  return new CopyFile(api, vfs->zName);
}

void CopyFile::Release() {
  if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

int CopyFile::Keep(int rc) {
  if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE) return rc;
  message_.Clear();
  message_ << (db_ == nullptr ? api_->errstr(rc) : api_->errmsg(db_));
  return rc;
}

int CopyFile::Fail(const char* message) {
  message_.Clear();
  message_ << message;
  return SQLITE_ERROR;
}

int CopyFile::Exec(const char* sql) {
  return Keep(api_->exec(db_, sql, nullptr, nullptr, nullptr));
}

int CopyFile::Open(const Text& file) {
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
  int rc = Keep(api_->open_v2(file.c_str(), &db_, flags, vfs_.c_str()));
  if (rc == SQLITE_OK) rc = Exec("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0");
  // Read once, so that the WAL is open and recovered.
  if (rc == SQLITE_OK) rc = ReadPageSize();
  // What others write from now on is noticed. If one does right now, it is as if that was before.
  if (rc == SQLITE_OK && Begin() == SQLITE_OK) {
    seen_ = header_;
    rc = Rollback();
  }
  if (rc != SQLITE_OK) Close(true);
  return rc;
}

int CopyFile::ReadPageSize() {
  Statement mode, size;
  int rc = Keep(mode.Prepare(api_, db_, "PRAGMA main.journal_mode = WAL"));
  if (rc == SQLITE_OK) rc = Keep(mode.Step());
  if (rc == SQLITE_ROW) {
    const bool is_wal = SameName(mode.ColumnText(0), "wal");
    rc = is_wal ? Keep(mode.Reset()) : Fail("the file cannot have a write-ahead log");
  }
  if (rc == SQLITE_OK) rc = Keep(size.Prepare(api_, db_, "PRAGMA main.page_size"));
  if (rc == SQLITE_OK) rc = Keep(size.Step());
  if (rc != SQLITE_ROW) return rc;
  page_size_ = static_cast<size_t>(size.ColumnInteger(0));
  size.Finalize();
  return Exec("SELECT 1 FROM main.sqlite_schema");
}

int CopyFile::Control(int operation, sqlite3_file** file) {
  const int rc = Keep(api_->file_control(db_, "main", operation, file));
  if (rc != SQLITE_OK) return rc;
  return *file == nullptr || (*file)->pMethods == nullptr ? Fail("the file has no log") : SQLITE_OK;
}

int CopyFile::MapZone(uint32_t zone, uint8_t** memory) {
  sqlite3_file* file = nullptr;
  int rc = Control(SQLITE_FCNTL_FILE_POINTER, &file);
  if (rc != SQLITE_OK) return rc;
  if (file->pMethods->iVersion < 2) return Fail("the file's VFS shares no memory");
  void volatile* mapped = nullptr;
  rc = file->pMethods->xShmMap(file, static_cast<int>(zone), kWalIndexZoneBytes, 1, &mapped);
  if (rc != SQLITE_OK || mapped == nullptr) return Fail("the index of the log cannot be mapped");
  *memory = const_cast<uint8_t*>(static_cast<uint8_t volatile*>(mapped));
  return SQLITE_OK;
}

int CopyFile::Begin() {
  // Reading brings this connection up to date and a wal-index that a crash has left in order.
  int rc = Exec("BEGIN IMMEDIATE");
  if (rc != SQLITE_OK) return rc;
  writing_ = true;
  uint8_t* zone = nullptr;
  rc = MapZone(0, &zone);
  if (rc == SQLITE_OK && !ReadWalIndexHeader(zone, &header_)) {
    rc = Fail("the index of the log is damaged");
  }
  if (rc != SQLITE_OK) {
    Rollback();
    return rc;
  }
  // A checkpoint that restarts the log leaves the count of commits as it is.
  altered_ = seen_.is_init != 0 && seen_.changes != header_.changes;
  offset_ = FrameOffset(header_.frames, page_size_);
  return SQLITE_OK;
}

int CopyFile::BeginWalIfEmpty() {
  if (header_.frames > 0) return SQLITE_OK;
  // New salts: what an earlier log has left in the file must not pass for frames of this one.
  uint32_t generation = 0;
  api_->randomness(sizeof header_.salts, header_.salts);
  api_->randomness(sizeof generation, &generation);
  uint8_t bytes[kWalHeadBytes];
  BeginWal(&header_, page_size_, generation & 0xffff, bytes);
  sqlite3_file* wal = nullptr;
  int rc = Control(SQLITE_FCNTL_JOURNAL_POINTER, &wal);
  if (rc == SQLITE_OK) rc = wal->pMethods->xWrite(wal, bytes, sizeof bytes, 0);
  return rc == SQLITE_OK ? rc : Fail("the log cannot be written");
}

int CopyFile::Append(const LtxPages& pages, uint32_t commit) {
  if (!writing_) return Fail("nothing was begun");
  if (pages.page_size != page_size_) return Fail("the pages have another size");
  int rc = appended_.empty() ? BeginWalIfEmpty() : SQLITE_OK;
  if (rc == SQLITE_OK) rc = WriteFrames(pages, commit);
  return rc == SQLITE_OK && commit > 0 ? Publish(commit) : rc;
}

int CopyFile::WriteFrames(const LtxPages& pages, uint32_t commit) {
  buffer_.Clear();
  for (size_t i = 0; i < pages.count; i++) {
    const uint32_t page = pages.numbers[i];
    if (page == 0) return Fail("pages are counted from 1");
    const Span content{pages.data + i * page_size_, page_size_};
    const bool is_last = i + 1 == pages.count;
    uint8_t* head = buffer_.Reserve(kWalFrameHeadBytes + page_size_);
    PutWalFrameHead(&header_, page, is_last ? commit : 0, content, head);
    memcpy(head + kWalFrameHeadBytes, content.data, content.size);
    buffer_.Advance(kWalFrameHeadBytes + page_size_);
    appended_.push_back(page);
    if (buffer_.size() < kWriteBytes && !is_last) continue;
    const int rc = WriteBuffer();
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

int CopyFile::WriteBuffer() {
  sqlite3_file* wal = nullptr;
  int rc = Control(SQLITE_FCNTL_JOURNAL_POINTER, &wal);
  if (rc != SQLITE_OK) return rc;
  const auto size = static_cast<int>(buffer_.size());
  rc = wal->pMethods->xWrite(wal, buffer_.data(), size, offset_);
  if (rc != SQLITE_OK) return Fail("the log cannot be written");
  offset_ += size;
  buffer_.Clear();
  return SQLITE_OK;
}

// As SQLite's own writers do it: the frames are durable before the index has them, and the index
// has them before its header says so.
int CopyFile::Publish(uint32_t commit) {
  sqlite3_file *wal = nullptr, *file = nullptr;
  int rc = Control(SQLITE_FCNTL_JOURNAL_POINTER, &wal);
  if (rc == SQLITE_OK) rc = Control(SQLITE_FCNTL_FILE_POINTER, &file);
  if (rc != SQLITE_OK) return rc;
  rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
  if (rc != SQLITE_OK) return Fail("the log cannot be synced");
  uint8_t* zone = nullptr;
  uint32_t mapped = 0;
  for (uint32_t page : appended_) {
    const uint32_t number = WalIndexZoneOf(++header_.frames);
    if (zone == nullptr || number != mapped) rc = MapZone(mapped = number, &zone);
    if (rc != SQLITE_OK) return rc;
    if (!AddToWalIndex(zone, header_.frames, page)) return Fail("the index of the log is damaged");
  }
  appended_.clear();
  header_.pages = commit;
  SealWalIndexHeader(&header_);
  rc = MapZone(0, &zone);
  if (rc != SQLITE_OK) return rc;
  memcpy(zone + sizeof header_, &header_, sizeof header_);
  file->pMethods->xShmBarrier(file);
  memcpy(zone, &header_, sizeof header_);
  seen_ = header_;
  writing_ = false;
  return Exec("COMMIT");
}

int CopyFile::Rollback() {
  if (!writing_) return SQLITE_OK;
  writing_ = false;
  appended_.clear();
  return Exec("ROLLBACK");
}

int CopyFile::Checkpoint() {
  int frames = 0, moved = 0;
  int rc = api_->wal_checkpoint_v2(db_, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &moved);
  if (rc == SQLITE_OK && frames > 0 && frames == moved) {
    rc = api_->wal_checkpoint_v2(db_, "main", SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
    if (rc == SQLITE_OK) seen_.frames = 0;
  }
  // Somebody reads, or checkpoints, too: another time.
  return rc == SQLITE_BUSY || rc == SQLITE_LOCKED ? SQLITE_OK : Keep(rc);
}

int CopyFile::Check() {
  problems_.clear();
  Statement check;
  int rc = Keep(check.Prepare(api_, db_, "PRAGMA main.integrity_check(10)"));
  if (rc != SQLITE_OK) return rc;
  while ((rc = check.Step()) == SQLITE_ROW) {
    if (!SameName(check.ColumnText(0), "ok")) problems_.push_back(Text(check.ColumnText(0)));
  }
  return Keep(rc);
}

void CopyFile::Close(bool keep_message) {
  Rollback();
  api_->close(db_);
  db_ = nullptr;
  if (!keep_message) message_.Clear();
}

}  // namespace mergelite
