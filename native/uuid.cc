#include "uuid.h"

namespace mergelite {
namespace {

// Of a text of 36 bytes, see value.h.
constexpr uint8_t kSerialType = 13 + 2 * 36;
constexpr uint8_t kNoDigit = 0xff;

// Where the two digits of each byte begin.
constexpr uint8_t kPlaces[kUuidBytes] = {1,  3,  5,  7,  10, 12, 15, 17,
                                         20, 22, 25, 27, 29, 31, 33, 35};
constexpr uint8_t kDashes[] = {9, 14, 19, 24};

constexpr uint8_t DigitOf(uint8_t character) {
  if (character >= '0' && character <= '9') return static_cast<uint8_t>(character - '0');
  if (character >= 'a' && character <= 'f') return static_cast<uint8_t>(character - 'a' + 10);
  return kNoDigit;
}

struct Digits {
  uint8_t of[256];
};
constexpr Digits MakeDigits() {
  Digits digits{};
  for (int i = 0; i < 256; i++) digits.of[i] = DigitOf(static_cast<uint8_t>(i));
  return digits;
}
constexpr Digits kDigits = MakeDigits();

}  // namespace

bool PackUuid(Span value, uint8_t* packed) {
  if (value.size != kUuidSpelledBytes || value.data[0] != kSerialType) return false;
  for (uint8_t place : kDashes) {
    if (value.data[place] != '-') return false;
  }
  uint8_t seen = 0;
  for (size_t i = 0; i < kUuidBytes; i++) {
    const uint8_t high = kDigits.of[value.data[kPlaces[i]]];
    const uint8_t low = kDigits.of[value.data[kPlaces[i] + 1]];
    seen |= high | low;
    packed[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return seen < 16;
}

void SpellUuid(const uint8_t* packed, uint8_t* value) {
  constexpr char kCharacters[] = "0123456789abcdef";
  value[0] = kSerialType;
  for (uint8_t place : kDashes) value[place] = '-';
  for (size_t i = 0; i < kUuidBytes; i++) {
    value[kPlaces[i]] = static_cast<uint8_t>(kCharacters[packed[i] >> 4]);
    value[kPlaces[i] + 1] = static_cast<uint8_t>(kCharacters[packed[i] & 15]);
  }
}

}  // namespace mergelite
