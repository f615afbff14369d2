// A shape: name, key and columns of a table as its origin saw them, and its descriptor's bytes.
#pragma once
#include <memory>
#include <vector>

#include "text.h"
#include "value.h"

namespace mergelite {

// SQLite's own limits on columns are lower or equal (SQLITE_LIMIT_COLUMN, at most 32,767).
constexpr size_t kColumnsMax = 32767;
constexpr size_t kNameBytesMax = 4096;

struct KeyColumn {
  Text name;
  Collation collation = Collation::kBinary;
};

struct Shape {
  uint64_t hash = 0;
  Text table;
  std::vector<KeyColumn> keys;
  std::vector<Text> columns;  // the other columns that are stored, in declared order

  size_t bitmap_bytes() const { return (columns.size() + 7) / 8; }
};

// The descriptor, and the hash that names it everywhere.
void EncodeShape(const Shape& shape, Bytes* out);
// Null when the bytes are no descriptor.
std::unique_ptr<Shape> DecodeShape(Span descriptor);

}  // namespace mergelite
