// SQLite values as bytes: SQLite's own serial types as a LEB128 varint, then the content,
// little-endian. One value has exactly one encoding; the decoder refuses any other.
#pragma once
#include "bytes.h"

namespace mergelite {

enum class Type : uint8_t { kNull, kInteger, kReal, kText, kBlob };

struct Value {
  Type type = Type::kNull;
  int64_t integer = 0;
  double real = 0;
  Span content;  // text or blob; points into the bytes it was decoded from
};

enum class Collation : uint8_t { kBinary = 0, kNoCase = 1, kRtrim = 2 };

void AppendNull(Bytes* out);
void AppendInteger(Bytes* out, int64_t integer);
void AppendReal(Bytes* out, double real);
void AppendContent(Bytes* out, Type type, Span content);
void AppendValue(Bytes* out, const Value& value);

bool ReadValue(Reader* in, Value* value);

// Appends the bytes by which SQLite's B-tree tells keys apart: 5 and 5.0 are one key, and so are
// 'a' and 'A' under NOCASE. Rows are looked up in memory by these.
void AppendIdentity(Bytes* out, const Value& value, Collation collation);

// A 64-bit hash (FNV-1a with a finishing mix), the same on every platform.
uint64_t Hash64(Span span);

}  // namespace mergelite
