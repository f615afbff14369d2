#include "../uuid.h"

#include "../value.h"
#include "check.h"

namespace mergelite::test {
namespace {

// Upper case would come back as lower case.
constexpr char kOthers[] = {'A', 'F', 'g', '/', ':', '`', '-', '+', ' ', '\0', '\xff'};
constexpr char kText[] = "00112233-4455-6677-8899-aabbccddeeff";

Bytes Encode(const char* text, size_t size) {
  Bytes out;
  AppendContent(&out, Type::kText, {reinterpret_cast<const uint8_t*>(text), size});
  return out;
}

bool Packs(Span value) {
  uint8_t packed[kUuidBytes];
  return PackUuid(value, packed);
}

TEST(uuids_come_back_as_they_were) {
  Random random(5);
  for (int i = 0; i < 1000; i++) {
    uint8_t bytes[kUuidBytes], value[kUuidSpelledBytes], packed[kUuidBytes];
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next() >> 32);
    SpellUuid(bytes, value);
    CHECK(PackUuid({value, sizeof value}, packed));
    CHECK(memcmp(bytes, packed, sizeof bytes) == 0);
  }
  uint8_t packed[kUuidBytes], value[kUuidSpelledBytes];
  const Bytes text = Encode(kText, sizeof kText - 1);
  CHECK(PackUuid(text.span(), packed) && packed[0] == 0 && packed[4] == 0x44 && packed[15] == 0xff);
  SpellUuid(packed, value);
  CHECK(text.span() == (Span{value, sizeof value}));
}

TEST(only_what_is_spelled_as_uuids_are_is_packed) {
  constexpr size_t kSize = sizeof kText - 1;
  CHECK(Packs(Encode(kText, kSize).span()));
  for (size_t i = 0; i < kSize; i++) {
    for (char other : kOthers) {
      if (other == kText[i]) continue;
      char text[sizeof kText];
      memcpy(text, kText, sizeof text);
      text[i] = other;
      CHECK(!Packs(Encode(text, kSize).span()));
    }
  }
  char longer[kSize + 1];
  memcpy(longer, kText, kSize);
  longer[kSize] = '0';
  CHECK(!Packs(Encode(longer, kSize + 1).span()) && !Packs(Encode(kText, kSize - 1).span()));
  Bytes blob;
  AppendContent(&blob, Type::kBlob, {reinterpret_cast<const uint8_t*>(kText), kSize});
  CHECK(!Packs(blob.span()) && !Packs({}));
  // Two columns whose values are as long together.
  Bytes pair = Encode(kText, kSize - 2);
  AppendInteger(&pair, 1);
  AppendInteger(&pair, 0);
  CHECK(pair.size() == kUuidSpelledBytes && !Packs(pair.span()));
}

}  // namespace
}  // namespace mergelite::test
