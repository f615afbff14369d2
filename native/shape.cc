#include "shape.h"

namespace mergelite {
namespace {

constexpr uint8_t kDescriptorFormat = 1;

void AppendName(const Text& name, Bytes* out) {
  out->Varint(name.size());
  out->Append(name.span());
}

bool ReadName(Reader* in, Text* name) {
  const uint64_t size = in->Varint();
  if (size == 0 || size > kNameBytesMax) return in->Fail(), false;
  const Span span = in->Take(size);
  if (!in->ok() || memchr(span.data, 0, span.size) != nullptr) return in->Fail(), false;
  name->Add(span);
  return true;
}

// A count is believed only as far as the bytes that are left could hold it.
size_t ReadCount(Reader* in, size_t bytes_each) {
  const uint64_t count = in->Varint();
  if (count > kColumnsMax || count * bytes_each > in->left()) return in->Fail(), 0;
  return static_cast<size_t>(count);
}

}  // namespace

void EncodeShape(const Shape& shape, Bytes* out) {
  out->Byte(kDescriptorFormat);
  AppendName(shape.table, out);
  out->Varint(shape.keys.size());
  for (const KeyColumn& key : shape.keys) {
    out->Byte(static_cast<uint8_t>(key.collation));
    AppendName(key.name, out);
  }
  out->Varint(shape.columns.size());
  for (const Text& column : shape.columns) AppendName(column, out);
}

std::unique_ptr<Shape> DecodeShape(Span descriptor) {
  Reader in(descriptor);
  auto shape = std::make_unique<Shape>();
  shape->hash = Hash64(descriptor);
  if (in.Byte() != kDescriptorFormat || !ReadName(&in, &shape->table)) return nullptr;
  const size_t keys = ReadCount(&in, 3);
  shape->keys.reserve(keys);
  for (size_t i = 0; i < keys; i++) {
    KeyColumn key;
    const uint8_t collation = in.Byte();
    if (collation > static_cast<uint8_t>(Collation::kRtrim)) return nullptr;
    key.collation = static_cast<Collation>(collation);
    if (!ReadName(&in, &key.name)) return nullptr;
    shape->keys.push_back(static_cast<KeyColumn&&>(key));
  }
  const size_t columns = ReadCount(&in, 2);
  shape->columns.reserve(columns);
  for (size_t i = 0; i < columns; i++) {
    Text name;
    if (!ReadName(&in, &name)) return nullptr;
    shape->columns.push_back(static_cast<Text&&>(name));
  }
  if (!in.ok() || !in.AtEnd() || keys == 0) return nullptr;
  return shape;
}

}  // namespace mergelite
