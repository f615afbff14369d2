#include "digest.h"

#include <algorithm>

#include "connection.h"
#include "merge.h"
#include "table_sql.h"

namespace mergelite {
namespace {

bool NameBefore(const char* a, const char* b) {
  for (; *a != 0 && Fold(*a) == Fold(*b); a++, b++) {
  }
  return Fold(*a) < Fold(*b);
}

void AppendLiteral(Text* out, const Value& value) {
  const char* hex = "0123456789abcdef";
  Text text;
  switch (value.type) {
    case Type::kInteger:
      if (value.integer < 0) *out << "-";
      *out << (value.integer < 0 ? ~static_cast<uint64_t>(value.integer) + 1
                                 : static_cast<uint64_t>(value.integer));
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
      *out << "real x'";
      for (int i = 7; i >= 0; i--) {
        uint64_t bits;
        memcpy(&bits, &value.real, sizeof bits);
        const auto byte = static_cast<uint8_t>(bits >> (8 * i));
        const char pair[3] = {hex[byte >> 4], hex[byte & 15], 0};
        *out << pair;
      }
      *out << "'";
      return;
    case Type::kBlob:
      *out << "x'";
      for (size_t i = 0; i < value.content.size; i++) {
        const char pair[3] = {hex[value.content.data[i] >> 4], hex[value.content.data[i] & 15], 0};
        *out << pair;
      }
      *out << "'";
  }
}

// Walks a table in key order. Columns are hashed in the order of their names, for peers may have
// declared them in another.
class Scan {
 public:
  Scan(Connection* connection, double budget_ms)
      : connection_(connection), deadline_(connection, budget_ms) {}

  int Open(const char* name, Span after_key) {
    int rc = connection_->catalog.Refresh(connection_);
    if (rc != SQLITE_OK) return rc;
    table_ = connection_->catalog.FindTable(name);
    if (table_ == nullptr || !table_->active) {
      Text message("table ");
      message.Name(name) << " is not replicated here";
      return connection_->Fail("TABLE_NOT_REPLICATED", message, "See `mergelite status`.");
    }
    const Shape& shape = *table_->shape;
    std::vector<const Text*> columns;
    for (const Text& column : shape.columns) columns.push_back(&column);
    std::sort(columns.begin(), columns.end(),
              [](const Text* a, const Text* b) { return NameBefore(a->c_str(), b->c_str()); });
    Text sql("SELECT ");
    AppendKeyNames(&sql, shape);
    for (const Text* column : columns) (sql << ", ").Name(column->c_str());
    sql << " FROM ";
    AppendTableName(&sql, *table_);
    if (after_key.size > 0) {
      sql << " WHERE (";
      AppendKeyNames(&sql, shape);
      sql << ") > (";
      for (size_t i = 0; i < shape.keys.size(); i++) sql << (i > 0 ? ", ?" : "?") << (i + 1);
      sql << ")";
    }
    sql << " ORDER BY ";
    AppendKeyNames(&sql, shape);
    rc = connection_->Check(rows_.Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc != SQLITE_OK) return rc;
    key_.resize(shape.keys.size());
    values_ = shape.keys.size() + shape.columns.size();
    Reader in(after_key);
    for (size_t i = 0; after_key.size > 0 && i < key_.size(); i++) {
      if (!ReadValue(&in, &key_[i])) return connection_->Fail("KEY_MALFORMED", "a key is damaged");
      rows_.Any(static_cast<int>(i) + 1, key_[i]);
    }
    return SQLITE_OK;
  }

  // SQLITE_ROW with the row's hash and bucket, SQLITE_OK at the end or when time is up.
  int Next(size_t buckets, uint64_t* hash, size_t* bucket, DigestPage* page) {
    if (page->rows % 64 == 63 && deadline_.Passed()) return SQLITE_OK;
    const int rc = rows_.Step();
    if (rc != SQLITE_ROW) {
      page->done = rc == SQLITE_OK;
      return connection_->Check(rc);
    }
    page->rows++;
    row_.Clear();
    page->last_key.Clear();
    for (size_t i = 0; i < values_; i++) {
      Value value;
      rows_.ColumnAny(static_cast<int>(i), &value);
      AppendValue(&row_, value);
      if (i >= key_.size()) continue;
      key_[i] = value;
      AppendValue(&page->last_key, value);
    }
    IdentityOf(*table_->shape, key_.data(), &identity_);
    *hash = Hash64(row_.span());
    *bucket = static_cast<size_t>(Hash64(identity_.span()) % buckets);
    return SQLITE_ROW;
  }
  const std::vector<Value>& key() const { return key_; }

 private:
  Connection* connection_;
  Deadline deadline_;
  Table* table_ = nullptr;
  Statement rows_;
  std::vector<Value> key_;
  size_t values_ = 0;
  Bytes row_, identity_;
};

}  // namespace

int DigestRows(Connection* connection, const char* table, Span after_key, double budget_ms,
               uint64_t* sums, size_t buckets, DigestPage* page) {
  Scan scan(connection, budget_ms);
  int rc = scan.Open(table, after_key);
  if (rc != SQLITE_OK) return rc;
  uint64_t hash = 0;
  size_t bucket = 0;
  while ((rc = scan.Next(buckets, &hash, &bucket, page)) == SQLITE_ROW) sums[bucket] += hash;
  return rc;
}

int DigestBucket(Connection* connection, const char* table, Span after_key, double budget_ms,
                 size_t buckets, size_t wanted, std::vector<DigestRow>* rows, DigestPage* page) {
  Scan scan(connection, budget_ms);
  int rc = scan.Open(table, after_key);
  if (rc != SQLITE_OK) return rc;
  uint64_t hash = 0;
  size_t bucket = 0;
  while ((rc = scan.Next(buckets, &hash, &bucket, page)) == SQLITE_ROW) {
    if (bucket != wanted) continue;
    DigestRow row;
    for (size_t i = 0; i < scan.key().size(); i++) {
      if (i > 0) row.key << ", ";
      AppendLiteral(&row.key, scan.key()[i]);
    }
    row.hash = hash;
    rows->push_back(static_cast<DigestRow&&>(row));
  }
  return rc;
}

}  // namespace mergelite
