// The rows of a key range, in the order of keys, each with a hash that two peers share when values
// and stamps are the same.
#pragma once
#include "catalog.h"
#include "row_clock.h"

namespace mergelite {

// Keys are encoded, value by value; an empty bound is none.
struct KeyRange {
  Span from;
  Span to;             // not in the range
  bool after = false;  // `from` is not in the range either
};

class RowScan {
 public:
  int Open(Connection* connection, const Table& table, const KeyRange& range);
  // SQLITE_ROW, SQLITE_OK at the end, or an error.
  int Next();
  uint64_t hash() const { return hash_; }
  // Of the row, until the next call.
  Span key() const { return key_bytes_.span(); }

 private:
  int AppendStamps();
  void AppendStamp(const Stamp& stamp);

  Connection* connection_ = nullptr;
  std::vector<uint32_t> column_ids_;  // in the order of the columns' names
  size_t columns_ = 0;
  Statement rows_;
  size_t keys_ = 0;
  Bytes key_bytes_, row_;
  RowClock clock_;
  uint64_t hash_ = 0;
};

// `(a, b) < (?1, ?2)` and the like; binding is BindKeyBytes.
void AppendKeyBound(Text* sql, const Text& names, const char* comparison, size_t first,
                    size_t keys);
// Binds an encoded key from a parameter on. The bytes must outlive the run.
int BindKeyBytes(Connection* connection, Statement* statement, int first, Span key, size_t keys);
// An encoded key as SQL literals, for people. False when it does not decode.
bool AppendKeyLiterals(Text* out, Span key);

}  // namespace mergelite
