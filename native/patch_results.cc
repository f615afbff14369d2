#include "patch_results.h"

namespace mergelite {

void ResultValue(const Api* api, sqlite3_context* context, const Value& value) {
  const auto* text = reinterpret_cast<const char*>(value.content.data);
  switch (value.type) {
    case Type::kInteger:
      return api->result_int64(context, value.integer);
    case Type::kReal:
      return api->result_double(context, value.real);
    case Type::kText:
      return api->result_text64(context, value.content.size == 0 ? "" : text, value.content.size,
                                SQLITE_TRANSIENT, SQLITE_UTF8);
    case Type::kBlob:
      if (value.content.size == 0) {
        api->result_zeroblob(context, 0);
        return;
      }
      return api->result_blob64(context, text, value.content.size, SQLITE_TRANSIENT);
    case Type::kNull:
      break;
  }
  api->result_null(context);
}

void ResultColumn(const Api* api, sqlite3_context* context, const Patch& patch, const Table* table,
                  const char* name) {
  const int key = table == nullptr ? -1 : table->FindKey(name);
  const int column = table == nullptr ? -1 : table->FindColumn(name);
  for (bool exact : {true, false}) {
    for (size_t i = 0; i < patch.shape->keys.size(); i++) {
      const char* own = patch.shape->keys[i].name.c_str();
      if (exact ? !SameName(own, name) : key < 0 || table->FindKey(own) != key) continue;
      return ResultValue(api, context, patch.key[i]);
    }
    for (size_t i = 0; i < patch.shape->columns.size(); i++) {
      const char* own = patch.shape->columns[i].c_str();
      if (exact ? !SameName(own, name) : column < 0 || table->FindColumn(own) != column) continue;
      if (patch.operation == Operation::kDelete || !patch.Sets(i)) return;
      return ResultValue(api, context, patch.values[i]);
    }
  }
}

void ResultColumnNames(const Api* api, sqlite3_context* context, const Patch& patch) {
  // JSON: names may hold any character.
  Bytes json;
  json.Byte('[');
  auto add = [&](const Text& name) {
    if (json.size() > 1) json.Byte(',');
    json.Byte('"');
    const Span span = name.span();
    for (size_t i = 0; i < span.size; i++) {
      const uint8_t c = span.data[i];
      if (c < 0x20) {
        const char* hex = "0123456789abcdef";
        json.Append("\\u00", 4);
        json.Byte(static_cast<uint8_t>(hex[c >> 4]));
        json.Byte(static_cast<uint8_t>(hex[c & 15]));
        continue;
      }
      if (c == '"' || c == '\\') json.Byte('\\');
      json.Byte(c);
    }
    json.Byte('"');
  };
  if (patch.operation == Operation::kInsert) {
    for (const KeyColumn& key : patch.shape->keys) add(key.name);
  }
  for (size_t i = 0; i < patch.shape->columns.size(); i++) {
    if (patch.operation != Operation::kDelete && patch.Sets(i)) add(patch.shape->columns[i]);
  }
  json.Byte(']');
  api->result_text64(context, reinterpret_cast<const char*>(json.data()), json.size(),
                     SQLITE_TRANSIENT, SQLITE_UTF8);
}

}  // namespace mergelite
