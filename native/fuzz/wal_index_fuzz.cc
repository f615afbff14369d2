// A zone of the index of a WAL: filled as the input says and looked up as SQLite does it, and one
// that holds the input already, as a damaged index might.
#include <vector>

#include "../wal_index.h"
#include "fuzz.h"

namespace mergelite::fuzz {
namespace {

// sqlite.org/walformat.html: page numbers, then places in them by hash.
constexpr size_t kHeads = 136, kSlotsAt = 16384;
constexpr uint32_t kSlots = 8192, kFirstFrames = 4062, kFrames = 4096;

struct Zone {
  explicit Zone(uint32_t number) : number(number) {
    memory.ReserveAll(kWalIndexZoneBytes);
    memset(bytes(), 0, kWalIndexZoneBytes);
  }
  uint8_t* bytes() { return memory.data(); }
  uint32_t room() const { return number == 0 ? kFirstFrames : kFrames; }
  uint32_t FrameAt(uint32_t place) const {
    return number == 0 ? place : kFirstFrames + (number - 1) * kFrames + place;
  }
  uint32_t PageAt(uint32_t place) {
    uint32_t page;
    memcpy(&page, bytes() + (number == 0 ? kHeads : 0) + (place - 1) * 4, sizeof page);
    return page;
  }
  // The last frame up to `places` that has the page, found as a reader finds it.
  uint32_t LookUp(uint32_t page, uint32_t places) {
    uint32_t found = 0;
    for (uint32_t slot = page * 383 % kSlots, tried = 0;; slot = (slot + 1) % kSlots) {
      uint16_t place;
      memcpy(&place, bytes() + kSlotsAt + slot * 2, sizeof place);
      if (place == 0) return found;
      if (place <= places && PageAt(place) == page) found = place;
      Require(++tried <= kSlots, "a chain of places ends");
    }
  }
  uint32_t number;
  Bytes memory;
};

// Frames are added, and some of the last ones again, as when their writer had ended early.
void Model(Span bytes, uint32_t zone_number) {
  Zone zone(zone_number);
  Require(WalIndexZoneOf(zone.FrameAt(1)) == zone_number, "a frame is in its zone");
  Require(WalIndexZoneOf(zone.FrameAt(zone.room())) == zone_number, "and so is the last one");
  std::vector<uint32_t> pages;
  for (size_t i = 0; i + 1 < bytes.size; i += 2) {
    const uint8_t what = bytes.data[i];
    if (what >= 250) pages.resize(pages.size() * (what - 250u) / 6);
    // Pages that share their first slot, and pages that do not.
    const uint32_t page = what % 2 == 0 ? bytes.data[i + 1] + 1u : (what * kSlots) + 5u;
    const int repeats = what < 8 ? 200 : 1;
    for (int again = 0; again < repeats && pages.size() < zone.room(); again++) {
      pages.push_back(page + static_cast<uint32_t>(again));
      const uint32_t place = static_cast<uint32_t>(pages.size());
      Require(AddToWalIndex(zone.bytes(), zone.FrameAt(place), pages.back()), "there is room");
    }
  }
  const uint32_t places = static_cast<uint32_t>(pages.size());
  for (uint32_t place = 1; place <= places; place += 1 + places / 64) {
    uint32_t last = place;
    for (uint32_t later = place; later <= places; later++) {
      if (pages[later - 1] == pages[place - 1]) last = later;
    }
    Require(zone.LookUp(pages[place - 1], places) == last, "the last frame of a page is found");
  }
}

void ForeignZone(Span bytes, uint32_t zone_number) {
  Zone zone(zone_number);
  for (size_t i = 0; i < kWalIndexZoneBytes && bytes.size > 0; i++) {
    zone.bytes()[i] = bytes.data[i % bytes.size];
  }
  WalIndexHeader header;
  (void)ReadWalIndexHeader(zone.bytes(), &header);
  for (size_t i = 0; i + 1 < bytes.size && i < 64; i += 2) {
    const uint32_t place = 1 + (bytes.data[i] << 8 | bytes.data[i + 1]) % zone.room();
    (void)AddToWalIndex(zone.bytes(), zone.FrameAt(place), bytes.data[i]);
  }
}

}  // namespace
}  // namespace mergelite::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mergelite;
  if (size == 0) return 0;
  fuzz::Exact copy({data + 1, size - 1});
  fuzz::Model(copy.span(), data[0] % 3);
  fuzz::ForeignZone(copy.span(), data[0] % 3);
  return 0;
}
