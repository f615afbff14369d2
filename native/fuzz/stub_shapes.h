// The tables that fuzzed payloads speak of. A payload names shapes by hash; here the hash modulo
// the number of stubs picks one, so that the fuzzer never has to guess 64 bits.
#pragma once
#include "../shape.h"

namespace mergelite::fuzz {

constexpr size_t kStubShapes = 4;

inline std::unique_ptr<Shape> MakeShape(uint64_t hash, size_t keys, size_t columns) {
  auto shape = std::make_unique<Shape>();
  shape->hash = hash;
  shape->table << "stub";
  for (size_t i = 0; i < keys; i++) {
    KeyColumn key;
    key.name << "key" << uint64_t{i};
    key.collation = static_cast<Collation>(i % 3);
    shape->keys.push_back(static_cast<KeyColumn&&>(key));
  }
  for (size_t i = 0; i < columns; i++) {
    Text name("column");
    name << uint64_t{i};
    shape->columns.push_back(static_cast<Text&&>(name));
  }
  return shape;
}

// One column, a bitmap that ends on a byte, one that does not, and none at all.
inline const Shape* StubShape(uint64_t hash) {
  static const std::unique_ptr<Shape> kStubs[kStubShapes] = {
      MakeShape(0, 1, 1), MakeShape(1, 2, 8), MakeShape(2, 3, 11), MakeShape(3, 1, 0)};
  return kStubs[hash % kStubShapes].get();
}

}  // namespace mergelite::fuzz
