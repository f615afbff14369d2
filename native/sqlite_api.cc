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
}

int Statement::Bytes(int index, Span value) {
  // A null pointer would bind NULL: an empty blob is not NULL.
  if (value.size == 0) return api_->bind_zeroblob(stmt_, index, 0);
  return api_->bind_blob64(stmt_, index, value.data, value.size, SQLITE_STATIC);
}

int Statement::String(int index, Span value) {
  const char* text = value.size == 0 ? "" : reinterpret_cast<const char*>(value.data);
  return api_->bind_text64(stmt_, index, text, value.size, SQLITE_STATIC, SQLITE_UTF8);
}

int Statement::Any(int index, const Value& value) {
  switch (value.type) {
    case Type::kInteger:
      return api_->bind_int64(stmt_, index, value.integer);
    case Type::kReal:
      return api_->bind_double(stmt_, index, value.real);
    case Type::kText:
      return String(index, value.content);
    case Type::kBlob:
      return Bytes(index, value.content);
    case Type::kNull:
      break;
  }
  return api_->bind_null(stmt_, index);
}

int Statement::Step() {
  const int rc = api_->step(stmt_);
  if (rc == SQLITE_ROW) return SQLITE_ROW;
  // reset() gives the error of the step; keep it even where reset clears it.
  const int after = api_->reset(stmt_);
  if (rc == SQLITE_DONE) return after;
  return after != SQLITE_OK ? after : rc;
}

Span Statement::ColumnBytes(int column) {
  const auto* data = static_cast<const uint8_t*>(api_->column_blob(stmt_, column));
  return {data, static_cast<size_t>(api_->column_bytes(stmt_, column))};
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
      const auto* text = api_->column_text(stmt_, column);
      value->content = {text, static_cast<size_t>(api_->column_bytes(stmt_, column))};
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

void AppendSqlValue(const Api* api, Bytes* out, sqlite3_value* value, bool utf16) {
  switch (api->value_type(value)) {
    case SQLITE_INTEGER:
      return AppendInteger(out, api->value_int64(value));
    case SQLITE_FLOAT:
      return AppendReal(out, api->value_double(value));
    case SQLITE_TEXT: {
      // As a blob a UTF-8 text comes without the copy that its closing NUL may cost.
      const void* text = utf16 ? api->value_text(value) : api->value_blob(value);
      const auto size = static_cast<size_t>(api->value_bytes(value));
      return AppendContent(out, Type::kText, {static_cast<const uint8_t*>(text), size});
    }
    case SQLITE_BLOB: {
      const auto* blob = static_cast<const uint8_t*>(api->value_blob(value));
      const auto size = static_cast<size_t>(api->value_bytes(value));
      return AppendContent(out, Type::kBlob, {blob, size});
    }
    default:
      return AppendNull(out);
  }
}

void ReadSqlValue(const Api* api, sqlite3_value* source, Value* value) {
  switch (api->value_type(source)) {
    case SQLITE_INTEGER:
      value->type = Type::kInteger;
      value->integer = api->value_int64(source);
      break;
    case SQLITE_FLOAT:
      value->type = Type::kReal;
      value->real = api->value_double(source);
      break;
    case SQLITE_TEXT: {
      value->type = Type::kText;
      const auto* text = api->value_text(source);
      value->content = {text, static_cast<size_t>(api->value_bytes(source))};
      break;
    }
    case SQLITE_BLOB: {
      value->type = Type::kBlob;
      const auto* blob = static_cast<const uint8_t*>(api->value_blob(source));
      value->content = {blob, static_cast<size_t>(api->value_bytes(source))};
      break;
    }
    default:
      value->type = Type::kNull;
  }
}

}  // namespace mergelite
