#include "value.h"

namespace mergelite {
namespace {

// Serial types, as in the SQLite file format, section 2.1.
constexpr uint64_t kSerialNull = 0;
constexpr uint64_t kSerialInt64 = 6;
constexpr uint64_t kSerialReal = 7;
constexpr uint64_t kSerialZero = 8;
constexpr uint64_t kSerialOne = 9;
constexpr uint64_t kSerialBlob = 12;
constexpr uint64_t kSerialText = 13;
constexpr size_t kIntegerBytes[] = {0, 1, 2, 3, 4, 6, 8};

constexpr uint64_t SerialTypeOf(int64_t integer) {
  if (integer == 0) return kSerialZero;
  if (integer == 1) return kSerialOne;
  const uint64_t magnitude =
      integer < 0 ? ~static_cast<uint64_t>(integer) : static_cast<uint64_t>(integer);
  if (magnitude < uint64_t{1} << 7) return 1;
  if (magnitude < uint64_t{1} << 15) return 2;
  if (magnitude < uint64_t{1} << 23) return 3;
  if (magnitude < uint64_t{1} << 31) return 4;
  if (magnitude < uint64_t{1} << 47) return 5;
  return kSerialInt64;
}

static_assert(SerialTypeOf(-128) == 1 && SerialTypeOf(-129) == 2 && SerialTypeOf(128) == 2);

int64_t SignExtend(uint64_t value, size_t bytes) {
  const int unused = static_cast<int>(64 - 8 * bytes);
  return static_cast<int64_t>(value << unused) >> unused;
}

// A real that is exactly an integer within the range in which SQLite compares it as one.
bool AsInteger(double real, int64_t* integer) {
  if (!(real >= -9223372036854775808.0 && real < 9223372036854775808.0)) return false;
  const auto candidate = static_cast<int64_t>(real);
  if (static_cast<double>(candidate) != real) return false;
  *integer = candidate;
  return true;
}

}  // namespace

void AppendNull(Bytes* out) { out->Byte(kSerialNull); }

void AppendInteger(Bytes* out, int64_t integer) {
  const uint64_t serial = SerialTypeOf(integer);
  out->Byte(static_cast<uint8_t>(serial));
  if (serial <= kSerialInt64) out->Little(static_cast<uint64_t>(integer), kIntegerBytes[serial]);
}

void AppendReal(Bytes* out, double real) {
  uint64_t bits;
  memcpy(&bits, &real, sizeof bits);
  out->Byte(kSerialReal);
  out->Little(bits, 8);
}

void AppendContent(Bytes* out, Type type, Span content) {
  out->Varint((type == Type::kText ? kSerialText : kSerialBlob) +
              2 * static_cast<uint64_t>(content.size));
  out->Append(content);
}

void AppendValue(Bytes* out, const Value& value) {
  switch (value.type) {
    case Type::kNull:
      return AppendNull(out);
    case Type::kInteger:
      return AppendInteger(out, value.integer);
    case Type::kReal:
      return AppendReal(out, value.real);
    case Type::kText:
    case Type::kBlob:
      return AppendContent(out, value.type, value.content);
  }
}

bool ReadValue(Reader* in, Value* value) {
  const uint64_t serial = in->Varint();
  if (serial == kSerialNull) {
    value->type = Type::kNull;
  } else if (serial <= kSerialInt64) {
    value->type = Type::kInteger;
    const size_t bytes = kIntegerBytes[serial];
    value->integer = SignExtend(in->Little(bytes), bytes);
    if (SerialTypeOf(value->integer) != serial) in->Fail();
  } else if (serial == kSerialReal) {
    const uint64_t bits = in->Little(8);
    value->type = Type::kReal;
    memcpy(&value->real, &bits, sizeof bits);
    if (value->real != value->real) in->Fail();  // SQLite has no NaN: it stores NULL
  } else if (serial == kSerialZero || serial == kSerialOne) {
    value->type = Type::kInteger;
    value->integer = static_cast<int64_t>(serial - kSerialZero);
  } else if (serial >= kSerialBlob) {
    value->type = (serial & 1) != 0 ? Type::kText : Type::kBlob;
    value->content = in->Take((serial - kSerialBlob) / 2);
  } else {
    in->Fail();
  }
  return in->ok();
}

void AppendIdentity(Bytes* out, const Value& value, Collation collation) {
  int64_t integer;
  if (value.type == Type::kReal && AsInteger(value.real, &integer)) {
    return AppendInteger(out, integer);
  }
  if (value.type != Type::kText || collation == Collation::kBinary) {
    return AppendValue(out, value);
  }
  Span content = value.content;
  if (collation == Collation::kRtrim) {
    while (content.size > 0 && content.data[content.size - 1] == ' ') content.size--;
    return AppendContent(out, Type::kText, content);
  }
  out->Varint(kSerialText + 2 * static_cast<uint64_t>(content.size));
  uint8_t* folded = out->Reserve(content.size);
  for (size_t i = 0; i < content.size; i++) {
    const uint8_t c = content.data[i];
    folded[i] = c >= 'A' && c <= 'Z' ? static_cast<uint8_t>(c + 32) : c;
  }
  out->Advance(content.size);
}

uint64_t Hash64(Span span) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < span.size; i++) hash = (hash ^ span.data[i]) * 0x100000001b3u;
  hash ^= hash >> 32;
  hash *= 0xd6e8feb86659fd93u;
  return hash ^ (hash >> 32);
}

}  // namespace mergelite
