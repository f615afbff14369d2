#include "wal_index.h"

namespace mergelite {
namespace {

constexpr uint32_t kVersion = 3007000;
constexpr uint32_t kMagic = 0x377f0682;  // and one more where sums are of big-endian words
constexpr size_t kIndexHeadBytes = 2 * kWalIndexHeadBytes + 40;
// Page numbers of a zone, then a hash table of 16-bit places in them. The first zone gives room to
// the headers.
constexpr uint32_t kZoneFrames = 4096;
constexpr uint32_t kFirstZoneFrames = kZoneFrames - kIndexHeadBytes / 4;
constexpr size_t kHashOffset = kZoneFrames * 4;
constexpr uint32_t kSlots = 8192;
static_assert(kFirstZoneFrames == 4062, "sqlite.org/walformat.html");
static_assert(kHashOffset + kSlots * 2 == kWalIndexZoneBytes, "a zone is full");

constexpr bool kNativeIsBig = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;

void PutBig(uint8_t* out, uint32_t number) {
  for (int i = 0; i < 4; i++) out[i] = static_cast<uint8_t>(number >> (24 - 8 * i));
}

// Over words of 32 bits, two at a time.
void AddSum(uint32_t sum[2], Span data, bool big_endian) {
  uint32_t a = sum[0], b = sum[1];
  for (size_t at = 0; at + 8 <= data.size; at += 8) {
    uint32_t words[2];
    memcpy(words, data.data + at, 8);
    if (big_endian != kNativeIsBig) {
      words[0] = __builtin_bswap32(words[0]);
      words[1] = __builtin_bswap32(words[1]);
    }
    a += words[0] + b;
    b += words[1] + a;
  }
  sum[0] = a, sum[1] = b;
}

void SumOf(const WalIndexHeader& header, uint32_t sum[2]) {
  sum[0] = sum[1] = 0;
  const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
  AddSum(sum, {bytes, kWalIndexHeadBytes - 8}, kNativeIsBig);
}

struct Zone {
  uint32_t* pages;
  uint16_t* slots;
  uint32_t room;
  uint32_t before;  // frames of the zones before
};

Zone ZoneOf(uint8_t* memory, uint32_t number) {
  Zone zone;
  zone.pages = reinterpret_cast<uint32_t*>(memory + (number == 0 ? kIndexHeadBytes : 0));
  zone.slots = reinterpret_cast<uint16_t*>(memory + kHashOffset);
  zone.room = number == 0 ? kFirstZoneFrames : kZoneFrames;
  zone.before = number == 0 ? 0 : kFirstZoneFrames + (number - 1) * kZoneFrames;
  return zone;
}

// Of frames beyond `kept`, which a writer that ended early has left.
void Forget(const Zone& zone, uint32_t kept) {
  for (uint32_t slot = 0; slot < kSlots; slot++) {
    if (zone.slots[slot] > kept) zone.slots[slot] = 0;
  }
  memset(zone.pages + kept, 0, (zone.room - kept) * sizeof(uint32_t));
}

}  // namespace

bool ReadWalIndexHeader(const uint8_t* zone, WalIndexHeader* header) {
  WalIndexHeader other;
  memcpy(header, zone, sizeof *header);
  memcpy(&other, zone + sizeof *header, sizeof other);
  uint32_t sum[2];
  SumOf(*header, sum);
  return memcmp(header, &other, sizeof other) == 0 && header->is_init != 0 &&
         sum[0] == header->sum[0] && sum[1] == header->sum[1];
}

void SealWalIndexHeader(WalIndexHeader* header) {
  header->version = kVersion;
  header->is_init = 1;
  header->changes++;
  SumOf(*header, header->sum);
}

uint32_t WalIndexZoneOf(uint32_t frame) {
  return (frame + kZoneFrames - kFirstZoneFrames - 1) / kZoneFrames;
}

bool AddToWalIndex(uint8_t* memory, uint32_t frame, uint32_t page) {
  const Zone zone = ZoneOf(memory, WalIndexZoneOf(frame));
  const uint32_t place = frame - zone.before;
  if (place == 1) {
    const size_t room = zone.room * sizeof(uint32_t) + kSlots * sizeof(uint16_t);
    memset(zone.pages, 0, room);
  }
  if (zone.pages[place - 1] != 0) Forget(zone, place - 1);
  uint32_t slot = page * 383 & (kSlots - 1);
  for (uint32_t tried = 0; zone.slots[slot] != 0; tried++) {
    if (tried == place) return false;
    slot = (slot + 1) & (kSlots - 1);
  }
  zone.pages[place - 1] = page;
  __atomic_store_n(&zone.slots[slot], static_cast<uint16_t>(place), __ATOMIC_RELEASE);
  return true;
}

void BeginWal(WalIndexHeader* header, size_t page_size, uint32_t generation,
              uint8_t out[kWalHeadBytes]) {
  header->big_endian = kNativeIsBig ? 1 : 0;
  header->page_size = static_cast<uint16_t>((page_size & 0xff00) | page_size >> 16);
  header->frames = 0;
  PutBig(out, kMagic | header->big_endian);
  PutBig(out + 4, kVersion);
  PutBig(out + 8, static_cast<uint32_t>(page_size));
  PutBig(out + 12, generation);
  memcpy(out + 16, header->salts, sizeof header->salts);
  header->frame_sum[0] = header->frame_sum[1] = 0;
  AddSum(header->frame_sum, {out, kWalHeadBytes - 8}, kNativeIsBig);
  PutBig(out + 24, header->frame_sum[0]);
  PutBig(out + 28, header->frame_sum[1]);
}

void PutWalFrameHead(WalIndexHeader* header, uint32_t page, uint32_t commit, Span content,
                     uint8_t out[kWalFrameHeadBytes]) {
  const bool big_endian = header->big_endian != 0;
  PutBig(out, page);
  PutBig(out + 4, commit);
  memcpy(out + 8, header->salts, sizeof header->salts);
  AddSum(header->frame_sum, {out, 8}, big_endian);
  AddSum(header->frame_sum, content, big_endian);
  PutBig(out + 16, header->frame_sum[0]);
  PutBig(out + 20, header->frame_sum[1]);
}

}  // namespace mergelite
