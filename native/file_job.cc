#include "file_job.h"

#include "connection.h"
#include "mutex_guard.h"

namespace mergelite {
namespace {

// So many pages are copied between two looks at whether to stop.
constexpr int kPagesAtOnce = 256;

// dbstat is not in every SQLite; what it cannot tell is left out then.
constexpr const char* kTables =
    "SELECT 'table', s.tbl_name, sum(d.pgsize) FROM main.sqlite_schema s CROSS JOIN dbstat d "
    "WHERE s.rootpage > 0 AND substr(s.tbl_name, 1, 11) = '_mergelite_' AND d.schema = 'main' "
    "AND d.name = s.name AND d.aggregate = 1 GROUP BY s.tbl_name";
constexpr const char* kCounts =
    "SELECT 'log', 'changesets', count(*) FROM main._mergelite_log "
    "UNION ALL SELECT 'log', 'bytes', coalesce(sum(length(payload)), 0) FROM main._mergelite_log "
    "UNION ALL SELECT 'parked', reason, count(*) FROM main._mergelite_parked GROUP BY reason "
    "UNION ALL SELECT 'refused', 'changesets', count(*) FROM main._mergelite_refused "
    "  WHERE length(payload) > 0 "
    "UNION ALL SELECT 'file', 'bytes', page_count * page_size FROM "
    "  pragma_page_count('main'), pragma_page_size('main')";

}  // namespace

FileJob* FileJob::New(Connection* connection) {
  const Api* api = connection->api;
  const char *file, *vfs;
  if (!OpensOnOtherThreads(api, connection->db, &file, &vfs)) return nullptr;
  auto* job = new FileJob(api, file, vfs);
  if (job->guard_ != nullptr) return job;
  delete job;
  return nullptr;
}

FileJob::FileJob(const Api* api, const char* file, const char* vfs)
    : api_(api), file_(file), vfs_(vfs), guard_(api->mutex_alloc(SQLITE_MUTEX_FAST)) {}

FileJob::~FileJob() { api_->mutex_free(guard_); }

void FileJob::Snapshot(Text target, bool check) {
  target_ = static_cast<Text&&>(target);
  check_ = check;
}

void FileJob::Run() {
  sqlite3* db = nullptr;
  rc_ = Open(file_.c_str(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, &db);
  if (rc_ == SQLITE_OK) {
    {
      MutexGuard guard(api_, guard_);
      db_ = db;
    }
    rc_ = stopped() ? SQLITE_INTERRUPT : target_.empty() ? Measure(db) : Copy(db);
    MutexGuard guard(api_, guard_);
    db_ = nullptr;
  }
  api_->close(db);
}

void FileJob::Stop() {
  MutexGuard guard(api_, guard_);
  stopped_ = true;
  if (db_ != nullptr) api_->interruptx(db_);
}

void FileJob::Release() {
  if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

bool FileJob::stopped() {
  MutexGuard guard(api_, guard_);
  return stopped_;
}

int FileJob::Open(const char* file, int flags, sqlite3** db) {
  const int rc = api_->open_v2(file, db, flags, vfs_.c_str());
  if (rc != SQLITE_OK) return Keep(*db, rc);
  return Keep(*db, api_->busy_timeout(*db, 5000));
}

int FileJob::Keep(sqlite3* db, int rc) {
  if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE || !message_.empty()) return rc;
  message_ << (db == nullptr ? api_->errstr(rc) : api_->errmsg(db));
  return rc;
}

int FileJob::Copy(sqlite3* from) {
  int rc = Hold(from);
  if (rc != SQLITE_OK) return rc;
  sqlite3* to = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  rc = Open(target_.c_str(), flags, &to);
  if (rc == SQLITE_OK) rc = CopyPages(from, to);
  if (rc == SQLITE_OK && check_) rc = CheckCopy(to);
  api_->close(to);
  return rc;
}

// A backup outside of a transaction begins again with every commit of another connection, and under
// a steady load never ends. In the rollback modes it has to: a reader there holds up writers.
int FileJob::Hold(sqlite3* db) {
  Statement mode;
  int rc = Keep(db, mode.Prepare(api_, db, "PRAGMA main.journal_mode"));
  if (rc == SQLITE_OK) rc = Keep(db, mode.Step());
  if (rc != SQLITE_ROW) return rc;
  const char* name = mode.ColumnText(0);
  const bool is_wal = strlen(name) == 3 && memcmp(name, "wal", 3) == 0;
  mode.Finalize();
  if (!is_wal) return SQLITE_OK;
  const char* sql = "BEGIN; SELECT 1 FROM main.sqlite_schema";
  return Keep(db, api_->exec(db, sql, nullptr, nullptr, nullptr));
}

int FileJob::CopyPages(sqlite3* from, sqlite3* to) {
  // Nobody else knows of the file yet; when something fails it is deleted.
  int rc = Keep(to, api_->exec(to, "PRAGMA journal_mode = OFF", nullptr, nullptr, nullptr));
  if (rc != SQLITE_OK) return rc;
  sqlite3_backup* backup = api_->backup_init(to, "main", from, "main");
  if (backup == nullptr) return Keep(to, api_->errcode(to));
  do {
    rc = stopped() ? SQLITE_INTERRUPT : api_->backup_step(backup, kPagesAtOnce);
    const int pages = api_->backup_pagecount(backup);
    pages_.store(pages, std::memory_order_relaxed);
    pages_done_.store(pages - api_->backup_remaining(backup), std::memory_order_relaxed);
  } while (rc == SQLITE_OK);
  const int finished = api_->backup_finish(backup);
  return Keep(to, rc == SQLITE_DONE ? finished : rc);
}

int FileJob::CheckCopy(sqlite3* copy) {
  {
    MutexGuard guard(api_, guard_);
    if (stopped_) return SQLITE_INTERRUPT;
    db_ = copy;
  }
  Statement check;
  int rc = Keep(copy, check.Prepare(api_, copy, "PRAGMA main.quick_check(1)"));
  if (rc == SQLITE_OK) rc = Keep(copy, check.Step());
  if (rc == SQLITE_ROW) {
    const char* result = check.ColumnText(0);
    const bool is_ok = strlen(result) == 2 && memcmp(result, "ok", 2) == 0;
    if (!is_ok) message_ << "the copy is damaged: " << result;
    rc = is_ok ? SQLITE_OK : SQLITE_CORRUPT;
  }
  MutexGuard guard(api_, guard_);
  db_ = nullptr;
  return rc;
}

int FileJob::Measure(sqlite3* db) {
  const int rc = Collect(db, kTables);
  if (rc != SQLITE_OK && rc != SQLITE_ERROR) return rc;
  message_.Clear();
  return Collect(db, kCounts);
}

int FileJob::Collect(sqlite3* db, const char* sql) {
  Statement query;
  int rc = Keep(db, query.Prepare(api_, db, sql));
  if (rc != SQLITE_OK) return rc;
  while ((rc = query.Step()) == SQLITE_ROW) {
    Reading reading;
    reading.kind << query.ColumnText(0);
    reading.name << query.ColumnText(1);
    reading.value = query.ColumnInteger(2);
    readings_.push_back(static_cast<Reading&&>(reading));
  }
  return Keep(db, rc);
}

}  // namespace mergelite
