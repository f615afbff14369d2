#include "crc64.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define MERGELITE_CRC64_FOLDS 1
#include <cpuid.h>
#include <immintrin.h>

#include <atomic>
#endif

namespace mergelite {
namespace {

// Of the polynomial, its highest coefficient left out; the bit of the lowest one is the highest.
constexpr uint64_t kPolynomial = 0xd800000000000000u;

struct Tables {
  uint64_t at[8][256];
};

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint64_t i = 0; i < 256; i++) {
    uint64_t crc = i;
    for (int bit = 0; bit < 8; bit++) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0u);
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

// Goes on over bytes from `crc` as it is, without the complement at both ends.
uint64_t Walk(uint64_t crc, const uint8_t* at, size_t left) {
  const auto& t = kTables.at;
  for (; left >= 8; left -= 8, at += 8) {
    const uint64_t x = crc ^ Little64(at);
    crc = t[7][x & 0xff] ^ t[6][(x >> 8) & 0xff] ^ t[5][(x >> 16) & 0xff] ^ t[4][(x >> 24) & 0xff] ^
          t[3][(x >> 32) & 0xff] ^ t[2][(x >> 40) & 0xff] ^ t[1][(x >> 48) & 0xff] ^ t[0][x >> 56];
  }
  for (; left > 0; left--) crc = (crc >> 8) ^ t[0][(crc ^ *at++) & 0xff];
  return crc;
}

#ifdef MERGELITE_CRC64_FOLDS

// x to the power of `n`, modulo the polynomial.
constexpr uint64_t PowerOfX(int n) {
  uint64_t power = uint64_t{1} << 63;
  for (; n > 0; n--) power = (power >> 1) ^ ((power & 1) != 0 ? kPolynomial : 0u);
  return power;
}

// 128 bits that stand `kBits` before others have the remainder of what this makes of them there:
// each half times a power of x. The product of two reflected numbers is short of one x, hence
// the 1.
template <int kBits>
__attribute__((target("pclmul,sse4.1"))) __m128i Fold(__m128i bits, __m128i onto) {
  const __m128i powers = _mm_set_epi64x(static_cast<int64_t>(PowerOfX(kBits - 1)),
                                        static_cast<int64_t>(PowerOfX(kBits + 64 - 1)));
  const __m128i low = _mm_clmulepi64_si128(bits, powers, 0x00);
  const __m128i high = _mm_clmulepi64_si128(bits, powers, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), onto);
}

__m128i Load(const uint8_t* at) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at)); }

constexpr size_t kFoldBytes = 64;

// From a multiple of kFoldBytes bytes to 16 bytes that have the same checksum after a `crc` of 0.
__attribute__((target("pclmul,sse4.1"))) uint64_t FoldAll(uint64_t crc, const uint8_t* at,
                                                          size_t left) {
  __m128i lanes[4];
  for (int i = 0; i < 4; i++) lanes[i] = Load(at + 16 * i);
  lanes[0] = _mm_xor_si128(lanes[0], _mm_set_epi64x(0, static_cast<int64_t>(crc)));
  for (at += kFoldBytes, left -= kFoldBytes; left > 0; at += kFoldBytes, left -= kFoldBytes) {
    for (int i = 0; i < 4; i++) lanes[i] = Fold<512>(lanes[i], Load(at + 16 * i));
  }
  for (int i = 1; i < 4; i++) lanes[i] = Fold<128>(lanes[i - 1], lanes[i]);
  uint8_t rest[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), lanes[3]);
  return Walk(0, rest, sizeof rest);
}

// The processor is asked once, for a virtual machine takes long over it.
bool Folds() {
  enum Known { kNothing, kNo, kYes };
  static std::atomic<Known> known{kNothing};
  if (const Known before = known.load(std::memory_order_relaxed)) return before == kYes;
  unsigned a, b, c, d;
  const bool folds =
      __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_PCLMUL) != 0 && (c & bit_SSE4_1) != 0;
  known.store(folds ? kYes : kNo, std::memory_order_relaxed);
  return folds;
}

#endif

}  // namespace

uint64_t Crc64(uint64_t crc, Span span) {
  crc = ~crc;
  const uint8_t* at = span.data;
  size_t left = span.size;
#ifdef MERGELITE_CRC64_FOLDS
  const size_t folded = left - left % kFoldBytes;
  if (folded > 0 && Folds()) {
    crc = FoldAll(crc, at, folded);
    at += folded;
    left -= folded;
  }
#endif
  return ~Walk(crc, at, left);
}

}  // namespace mergelite
