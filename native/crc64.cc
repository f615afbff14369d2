#include "crc64.h"

namespace mergelite {
namespace {

struct Tables {
  uint64_t at[8][256];
};

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint64_t i = 0; i < 256; i++) {
    uint64_t crc = i;
    for (int bit = 0; bit < 8; bit++) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xd800000000000000u : 0u);
    }
    tables.at[0][i] = crc;
  }
  for (int slice = 1; slice < 8; slice++) {
    for (uint64_t i = 0; i < 256; i++) {
      const uint64_t before = tables.at[slice - 1][i];
      tables.at[slice][i] = (before >> 8) ^ tables.at[0][before & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

uint64_t Little64(const uint8_t* at) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) value |= static_cast<uint64_t>(at[i]) << (8 * i);
  return value;
}

}  // namespace

uint64_t Crc64(uint64_t crc, Span span) {
  const auto& t = kTables.at;
  crc = ~crc;
  const uint8_t* at = span.data;
  size_t left = span.size;
  for (; left >= 8; left -= 8, at += 8) {
    const uint64_t x = crc ^ Little64(at);
    crc = t[7][x & 0xff] ^ t[6][(x >> 8) & 0xff] ^ t[5][(x >> 16) & 0xff] ^ t[4][(x >> 24) & 0xff] ^
          t[3][(x >> 32) & 0xff] ^ t[2][(x >> 40) & 0xff] ^ t[1][(x >> 48) & 0xff] ^ t[0][x >> 56];
  }
  for (; left > 0; left--) crc = (crc >> 8) ^ t[0][(crc ^ *at++) & 0xff];
  return ~crc;
}

}  // namespace mergelite
