#include "wal_format.h"

namespace mergelite {
namespace {

constexpr uint32_t kMagic = 0x377f0682;  // the last bit: big-endian checksums
constexpr uint32_t kVersion = 3007000;

uint32_t Big(const uint8_t* at) {
  return static_cast<uint32_t>(at[0]) << 24 | static_cast<uint32_t>(at[1]) << 16 |
         static_cast<uint32_t>(at[2]) << 8 | at[3];
}
uint32_t Little(const uint8_t* at) {
  return static_cast<uint32_t>(at[3]) << 24 | static_cast<uint32_t>(at[2]) << 16 |
         static_cast<uint32_t>(at[1]) << 8 | at[0];
}
// The index is shared memory: numbers in it are this machine's own.
uint32_t Own(const uint8_t* at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

bool IsPageSize(uint32_t size) { return size >= 512 && size <= 65536 && (size & (size - 1)) == 0; }

template <uint32_t (*Word)(const uint8_t*)>
void Add(const uint8_t* data, size_t size, WalSum* sum) {
  uint32_t first = sum->first, second = sum->second;
  for (size_t at = 0; at + 8 <= size; at += 8) {
    first += Word(data + at) + second;
    second += Word(data + at + 4) + first;
  }
  *sum = {first, second};
}

}  // namespace

void AddToWalSum(const uint8_t* data, size_t size, bool big_endian, WalSum* sum) {
  if (big_endian) return Add<Big>(data, size, sum);
  Add<Little>(data, size, sum);
}

bool ReadWalHead(Span bytes, WalHead* head) {
  if (bytes.size < kWalHeadBytes) return false;
  const uint8_t* at = bytes.data;
  const uint32_t magic = Big(at);
  if ((magic & ~1u) != kMagic || Big(at + 4) != kVersion) return false;
  head->big_endian = (magic & 1) != 0;
  head->page_size = Big(at + 8);
  head->salt = {Big(at + 16), Big(at + 20)};
  head->sum = {};
  AddToWalSum(at, 24, head->big_endian, &head->sum);
  return IsPageSize(head->page_size) && head->sum == WalSum{Big(at + 24), Big(at + 28)};
}

bool ReadWalIndexHead(Span first, Span second, WalIndexHead* head) {
  if (first.size < kWalIndexHeadBytes || !(first == second)) return false;
  const uint8_t* at = first.data;
  const bool is_begun = at[12] != 0;
  WalSum sum;
  Add<Own>(at, 40, &sum);
  if (!is_begun || Own(at) != kVersion || !(sum == WalSum{Own(at + 40), Own(at + 44)}))
    return false;
  uint16_t size;
  memcpy(&size, at + 14, sizeof size);
  // 65,536 does not fit into two bytes, and is kept as 1.
  head->page_size = (size & 0xfe00u) + ((size & 1u) << 16);
  head->change = Own(at + 8);
  head->pages = Own(at + 20);
  head->end.frame = Own(at + 16);
  head->end.sum = {Own(at + 24), Own(at + 28)};
  // These are bytes of the WAL, copied as they are.
  head->end.salt = {Big(at + 32), Big(at + 36)};
  return true;
}

bool ReadWalFrame(Span frame, const WalHead& head, WalSum* sum, WalFrameHead* out) {
  if (frame.size < kWalFrameHeadBytes + head.page_size) return false;
  const uint8_t* at = frame.data;
  out->page = Big(at);
  out->pages = Big(at + 4);
  out->salt = {Big(at + 8), Big(at + 12)};
  out->sum = {Big(at + 16), Big(at + 20)};
  if (out->page == 0 || !(out->salt == head.salt)) return false;
  AddToWalSum(at, 8, head.big_endian, sum);
  AddToWalSum(at + kWalFrameHeadBytes, head.page_size, head.big_endian, sum);
  return *sum == out->sum;
}

}  // namespace mergelite
