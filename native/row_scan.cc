#include "row_scan.h"

#include <algorithm>

#include "connection.h"
#include "table_sql.h"

namespace mergelite {
namespace {

bool NameBefore(const char* a, const char* b) {
  for (; *a != 0 && Fold(*a) == Fold(*b); a++, b++) {
  }
  return Fold(*a) < Fold(*b);
}

void AppendHex(Text* out, const uint8_t* data, size_t size) {
  const char* digits = "0123456789abcdef";
  *out << "x'";
  for (size_t i = 0; i < size; i++) {
    const char pair[3] = {digits[data[i] >> 4], digits[data[i] & 15], 0};
    *out << pair;
  }
  *out << "'";
}

void AppendLiteral(Text* out, const Value& value) {
  const auto magnitude = static_cast<uint64_t>(value.integer);
  Text text;
  uint64_t bits;
  uint8_t bytes[sizeof bits];
  switch (value.type) {
    case Type::kInteger:
      if (value.integer < 0) *out << "-";
      *out << (value.integer < 0 ? ~magnitude + 1 : magnitude);
      return;
    case Type::kText:
      text.Add(value.content);
      out->Literal(text.c_str());
      return;
    case Type::kNull:
      *out << "NULL";
      return;
    case Type::kReal:
      // Exact, and rare as a key: the eight bytes.
      memcpy(&bits, &value.real, sizeof bits);
      for (size_t i = 0; i < sizeof bits; i++)
        bytes[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
      AppendHex(&(*out << "real "), bytes, sizeof bytes);
      return;
    case Type::kBlob:
      AppendHex(out, value.content.data, value.content.size);
  }
}

}  // namespace

void AppendKeyBound(Text* sql, const Text& names, const char* comparison, size_t first,
                    size_t keys) {
  *sql << "(" << names << ") " << comparison << " (";
  for (size_t i = 0; i < keys; i++) *sql << (i > 0 ? ", ?" : "?") << (first + i);
  *sql << ")";
}

int BindKeyBytes(Connection* connection, Statement* statement, int first, Span key, size_t keys) {
  Reader in(key);
  for (size_t i = 0; i < keys; i++) {
    Value value;
    if (!ReadValue(&in, &value)) return connection->Fail("KEY_MALFORMED", "a key is damaged");
    statement->Any(first + static_cast<int>(i), value);
  }
  return in.AtEnd() ? SQLITE_OK : connection->Fail("KEY_MALFORMED", "a key is damaged");
}

bool AppendKeyLiterals(Text* out, Span key) {
  Reader in(key);
  Value value;
  for (bool first = true; !in.AtEnd(); first = false) {
    if (!ReadValue(&in, &value)) return false;
    if (!first) *out << ", ";
    AppendLiteral(out, value);
  }
  return true;
}

int RowScan::Open(Connection* connection, const Table& table, const KeyRange& range) {
  connection_ = connection;
  const Shape& shape = *table.shape;
  const size_t keys = shape.keys.size();
  keys_ = keys;
  columns_ = shape.columns.size();
  // Peers may have declared the columns in another order.
  std::vector<size_t> order;
  for (size_t i = 0; i < columns_; i++) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return NameBefore(shape.columns[a].c_str(), shape.columns[b].c_str());
  });
  column_ids_.clear();
  Text sql("SELECT clock._mergelite_clock"), names;
  for (size_t i = 0; i < keys; i++) {
    (names << (i > 0 ? ", row." : "row.")).Name(shape.keys[i].name.c_str());
  }
  sql << ", " << names;
  for (size_t i : order) {
    (sql << ", row.").Name(shape.columns[i].c_str());
    column_ids_.push_back(table.column_ids[i]);
  }
  sql << " FROM ";
  AppendTableName(&sql, table);
  sql << " AS row LEFT JOIN ";
  AppendClockName(&sql, table);
  const char* separator = " AS clock ON clock.";
  for (const KeyColumn& key : shape.keys) {
    ((sql << separator).Name(key.name.c_str()) << " = row.").Name(key.name.c_str());
    separator = " AND clock.";
  }
  separator = " WHERE ";
  if (range.from.size > 0) {
    AppendKeyBound(&(sql << separator), names, range.after ? ">" : ">=", 1, keys);
    separator = " AND ";
  }
  if (range.to.size > 0) AppendKeyBound(&(sql << separator), names, "<", keys + 1, keys);
  sql << " ORDER BY " << names;
  int rc = connection->Check(rows_.Prepare(connection->api, connection->db, sql.c_str()));
  if (rc == SQLITE_OK && range.from.size > 0) {
    rc = BindKeyBytes(connection, &rows_, 1, range.from, keys);
  }
  if (rc == SQLITE_OK && range.to.size > 0) {
    rc = BindKeyBytes(connection, &rows_, static_cast<int>(keys) + 1, range.to, keys);
  }
  return rc;
}

int RowScan::Next() {
  int rc = rows_.Step();
  if (rc != SQLITE_ROW) return connection_->Check(rc);
  row_.Clear();
  for (size_t i = 0; i < keys_ + columns_; i++) {
    Value value;
    rows_.ColumnAny(static_cast<int>(i) + 1, &value);
    AppendValue(&row_, value);
    if (i + 1 == keys_) {
      key_bytes_.Clear();
      key_bytes_.Append(row_.span());
    }
  }
  rc = AppendStamps();
  hash_ = Hash64(row_.span());
  return rc == SQLITE_OK ? SQLITE_ROW : rc;
}

// A row without a clock is one that nobody captured; its hash is unlike any other's.
int RowScan::AppendStamps() {
  if (rows_.ColumnIsNull(0)) return SQLITE_OK;
  if (!clock_.Decode(rows_.ColumnBytes(0))) {
    return connection_->Fail("FILE_DAMAGED", "a row clock does not decode",
                             "Run `PRAGMA integrity_check`; restore the file from a backup.");
  }
  AppendStamp(clock_.life);
  for (size_t i = 0; i < column_ids_.size() && !clock_.overrides.empty(); i++) {
    for (const Override& entry : clock_.overrides) {
      if (entry.column != column_ids_[i]) continue;
      row_.Varint(i);
      AppendStamp(entry.stamp);
    }
  }
  return SQLITE_OK;
}

void RowScan::AppendStamp(const Stamp& stamp) {
  row_.Varint(stamp.timestamp);
  row_.Varint(connection_->log.peers().Of(stamp.origin));
}

}  // namespace mergelite
