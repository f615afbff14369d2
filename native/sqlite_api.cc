#include "sqlite_api.h"

namespace mergelite {

int Statement::Prepare(const Api* api, sqlite3* db, const char* sql) {
  Finalize();
  api_ = api;
  return api->prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt_, nullptr);
}

void Statement::Finalize() {
  if (stmt_ != nullptr) api_->finalize(stmt_);
  stmt_ = nullptr;
  failure_ = SQLITE_OK;
}

int Statement::Bytes(int index, Span value) {
  // A null pointer would bind NULL: an empty blob is not NULL.
  if (value.size == 0) return Keep(api_->bind_zeroblob(stmt_, index, 0));
  return Keep(api_->bind_blob64(stmt_, index, value.data, value.size, SQLITE_STATIC));
}

int Statement::String(int index, Span value) {
  const char* text = value.size == 0 ? "" : reinterpret_cast<const char*>(value.data);
  return Keep(api_->bind_text64(stmt_, index, text, value.size, SQLITE_STATIC, SQLITE_UTF8));
}

int Statement::Any(int index, const Value& value) {
  switch (value.type) {
    case Type::kInteger:
      return Integer(index, value.integer);
    case Type::kReal:
      return Keep(api_->bind_double(stmt_, index, value.real));
    case Type::kText:
      return String(index, value.content);
    case Type::kBlob:
      return Bytes(index, value.content);
    case Type::kNull:
      break;
  }
  return Null(index);
}

int Statement::TakeFailure(int otherwise) {
  if (failure_ == SQLITE_OK) return otherwise;
  const int failure = failure_;
  failure_ = SQLITE_OK;
  return failure;
}

int Statement::Reset() { return TakeFailure(api_->reset(stmt_)); }

int Statement::Step() {
  if (failure_ != SQLITE_OK) return Reset();
  const int rc = api_->step(stmt_);
  if (rc == SQLITE_ROW) return SQLITE_ROW;
  // reset() gives the error of the step; keep it even where reset clears it.
  const int after = api_->reset(stmt_);
  if (rc == SQLITE_DONE) return after;
  return after != SQLITE_OK ? after : rc;
}

Span Statement::ColumnBytes(int column) {
  const auto* data = static_cast<const uint8_t*>(api_->column_blob(stmt_, column));
  const auto size = static_cast<size_t>(api_->column_bytes(stmt_, column));
  if (data != nullptr || size == 0) return {data, size};
  Keep(SQLITE_NOMEM);
  return {};
}

const char* Statement::ColumnText(int column) {
  const auto* text = reinterpret_cast<const char*>(api_->column_text(stmt_, column));
  if (text != nullptr) return text;
  if (!ColumnIsNull(column)) Keep(SQLITE_NOMEM);
  return "";
}

void Statement::ColumnAny(int column, Value* value) {
  switch (api_->column_type(stmt_, column)) {
    case SQLITE_INTEGER:
      value->type = Type::kInteger;
      value->integer = api_->column_int64(stmt_, column);
      break;
    case SQLITE_FLOAT:
      value->type = Type::kReal;
      value->real = api_->column_double(stmt_, column);
      break;
    case SQLITE_TEXT: {
      value->type = Type::kText;
      const char* text = ColumnText(column);
      const int size = failure_ == SQLITE_OK ? api_->column_bytes(stmt_, column) : 0;
      value->content = {reinterpret_cast<const uint8_t*>(text), static_cast<size_t>(size)};
      break;
    }
    case SQLITE_BLOB:
      value->type = Type::kBlob;
      value->content = ColumnBytes(column);
      break;
    default:
      value->type = Type::kNull;
  }
}

bool AppendSqlValue(const Api* api, Bytes* out, sqlite3_value* value, bool utf16) {
  const int type = api->value_type(value);
  switch (type) {
    case SQLITE_INTEGER:
      return AppendInteger(out, api->value_int64(value)), true;
    case SQLITE_FLOAT:
      return AppendReal(out, api->value_double(value)), true;
    case SQLITE_NULL:
      return AppendNull(out), true;
    default:
      break;
  }
  // As a blob a UTF-8 text comes without the copy that its closing NUL may cost.
  const bool converted = utf16 && type == SQLITE_TEXT;
  const void* content = converted ? api->value_text(value) : api->value_blob(value);
  const auto size = static_cast<size_t>(api->value_bytes(value));
  if (content == nullptr && (converted || size > 0)) return false;
  const Span span{static_cast<const uint8_t*>(content), size};
  AppendContent(out, type == SQLITE_TEXT ? Type::kText : Type::kBlob, span);
  return true;
}

bool OpensOnOtherThreads(const Api* api, sqlite3* db, const char** file, const char** vfs) {
  sqlite3_vfs* found = nullptr;
  *file = api->db_filename(db, "main");
  api->file_control(db, "main", SQLITE_FCNTL_VFS_POINTER, &found);
  *vfs = found == nullptr ? nullptr : found->zName;
  return api->xthreadsafe() != 0 && *file != nullptr && **file != 0 && found != nullptr;
}

}  // namespace mergelite
