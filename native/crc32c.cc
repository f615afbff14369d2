#include "crc32c.h"

namespace mergelite {
namespace {

struct Tables {
  uint32_t at[8][256];
};

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    tables.at[0][i] = crc;
  }
  for (int slice = 1; slice < 8; slice++) {
    for (uint32_t i = 0; i < 256; i++) {
      const uint32_t before = tables.at[slice - 1][i];
      tables.at[slice][i] = (before >> 8) ^ tables.at[0][before & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

}  // namespace

uint32_t Crc32c(Span span) {
  const auto& t = kTables.at;
  uint32_t crc = ~0u;
  const uint8_t* at = span.data;
  size_t left = span.size;
  for (; left >= 8; left -= 8, at += 8) {
    const uint32_t low =
        crc ^ (static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 |
               static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24);
    crc = t[7][low & 0xff] ^ t[6][(low >> 8) & 0xff] ^ t[5][(low >> 16) & 0xff] ^ t[4][low >> 24] ^
          t[3][at[4]] ^ t[2][at[5]] ^ t[1][at[6]] ^ t[0][at[7]];
  }
  for (; left > 0; left--) crc = (crc >> 8) ^ t[0][(crc ^ *at++) & 0xff];
  return ~crc;
}

}  // namespace mergelite
