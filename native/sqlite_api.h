// SQLite through the host's function table only: a process may hold several SQLite libraries, and
// none of their symbols can be linked to.
#pragma once
// Gives the struct of functions without the macros that would route calls through a global.
#define SQLITE_CORE 1
#include <sqlite3ext.h>

#include "text.h"
#include "value.h"

namespace mergelite {

using Api = sqlite3_api_routines;

// A prepared statement that is finalized with its owner, and owned by a Connection in the end.
class Statement {
 public:
  Statement() = default;
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement(Statement&& other) noexcept { Swap(other); }
  Statement& operator=(Statement&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~Statement() { Finalize(); }

  explicit operator bool() const { return stmt_ != nullptr; }
  int Prepare(const Api* api, sqlite3* db, const char* sql);
  void Finalize();

  // A value that could not be bound, or a column not read, for want of memory makes the next Step()
  // or Reset() fail: so no caller needs to look at each of them.
  int Integer(int index, int64_t value) { return Keep(api_->bind_int64(stmt_, index, value)); }
  int Null(int index) { return Keep(api_->bind_null(stmt_, index)); }
  // Bound without a copy: the bytes must outlive the step.
  int Bytes(int index, Span value);
  int String(int index, Span value);
  int String(int index, const char* value) {
    return String(index, {reinterpret_cast<const uint8_t*>(value), strlen(value)});
  }
  int Any(int index, const Value& value);
  int Pointer(int index, void* pointer, const char* type) {
    return Keep(api_->bind_pointer(stmt_, index, pointer, type, nullptr));
  }

  // SQLITE_ROW, or the result of the whole run after a reset: SQLITE_OK or an error.
  int Step();
  // For statements without rows.
  int Run() {
    const int rc = Step();
    if (rc != SQLITE_ROW) return rc;
    return Reset();
  }
  int Reset();

  int64_t ColumnInteger(int column) { return api_->column_int64(stmt_, column); }
  Span ColumnBytes(int column);
  // Empty for NULL.
  const char* ColumnText(int column);
  bool ColumnIsNull(int column) { return api_->column_type(stmt_, column) == SQLITE_NULL; }
  void ColumnAny(int column, Value* value);
  // How often SQLite compiled it again by itself, because the schema or a setting had changed.
  int Reprepared() { return api_->stmt_status(stmt_, SQLITE_STMTSTATUS_REPREPARE, 0); }

 private:
  void Swap(Statement& other) {
    const Api* api = api_;
    sqlite3_stmt* stmt = stmt_;
    const int failure = failure_;
    api_ = other.api_, stmt_ = other.stmt_, failure_ = other.failure_;
    other.api_ = api, other.stmt_ = stmt, other.failure_ = failure;
  }
  int Keep(int rc) {
    if (rc != SQLITE_OK) failure_ = rc;
    return rc;
  }
  int TakeFailure(int otherwise);

  const Api* api_ = nullptr;
  sqlite3_stmt* stmt_ = nullptr;
  int failure_ = SQLITE_OK;
};

// Ends a statement that gave a row, however its reader goes on.
class ResetAtEnd {
 public:
  explicit ResetAtEnd(Statement* statement) : statement_(statement) {}
  ~ResetAtEnd() { statement_->Reset(); }
  ResetAtEnd(const ResetAtEnd&) = delete;
  ResetAtEnd& operator=(const ResetAtEnd&) = delete;

 private:
  Statement* statement_;
};

// The main database's file and VFS. False where SQLite knows no threads, or it is not a file.
bool OpensOnOtherThreads(const Api* api, sqlite3* db, const char** file, const char** vfs);

// Appends the value of an SQL function's argument, encoded; false when there is no memory for it.
[[nodiscard]] bool AppendSqlValue(const Api* api, Bytes* out, sqlite3_value* value, bool utf16);

}  // namespace mergelite
