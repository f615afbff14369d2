#include "shape.h"

#include <algorithm>

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

// One name twice would be one column with two values.
bool NamesDiffer(const Shape& shape) {
  std::vector<Text> folded;
  auto add = [&](const Text& name) {
    Text lower;
    const Span span = name.span();
    for (size_t i = 0; i < span.size; i++) {
      const char letter[2] = {Fold(static_cast<char>(span.data[i])), 0};
      lower << letter;
    }
    folded.push_back(static_cast<Text&&>(lower));
  };
  for (const KeyColumn& key : shape.keys) add(key.name);
  for (const Text& column : shape.columns) add(column);
  auto less = [](const Text& a, const Text& b) { return a.span() < b.span(); };
  std::sort(folded.begin(), folded.end(), less);
  for (size_t i = 1; i < folded.size(); i++) {
    if (folded[i - 1].span() == folded[i].span()) return false;
  }
  return true;
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
  if (!in.ok() || !in.AtEnd() || keys == 0 || !NamesDiffer(*shape)) return nullptr;
  return shape;
}

}  // namespace mergelite
