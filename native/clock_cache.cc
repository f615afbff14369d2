#include "clock_cache.h"

#include "ids.h"
#include "value.h"

namespace mergelite {
namespace {

bool IsOneInteger(Span identity, uint64_t* integer) {
  constexpr size_t kLongest = 9;
  Reader in(identity);
  Value value;
  if (identity.size > kLongest || !ReadValue(&in, &value) || !in.AtEnd()) return false;
  *integer = static_cast<uint64_t>(value.integer);
  return value.type == Type::kInteger;
}

}  // namespace

uint64_t HashOfRow(uint32_t table, Span identity) {
  uint64_t hash = 0x9e3779b97f4a7c15u ^ (table * uint64_t{0xff51afd7ed558ccd});
  uint64_t integer;
  if (IsOneInteger(identity, &integer)) {
    // Eight neighbours have hashes that differ in the lowest bits alone: who goes through rows in
    // the order of their keys finds what it looks up in the cache line it has just read.
    // What mergelite_id() gave counts above the lane.
    const bool small = integer + (uint64_t{1} << 40) < uint64_t{1} << 41;
    const int shift = small ? 0 : kIdLaneBits;
    const uint64_t near = integer >> shift & 7;
    hash = (hash ^ integer ^ near << shift) * 0x9fb21c651e98df25u;
    hash = (hash ^ (hash >> 29)) * 0x9fb21c651e98df25u;
    return hash ^ (hash >> 32) ^ near;
  }
  const uint8_t* at = identity.data;
  size_t left = identity.size;
  for (; left >= 8; left -= 8, at += 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    hash = (hash ^ word) * 0x9fb21c651e98df25u;
    hash ^= hash >> 29;
  }
  uint64_t word = 0;
  if (left > 0) memcpy(&word, at, left);
  hash = (hash ^ word ^ (uint64_t{left} << 56)) * 0x9fb21c651e98df25u;
  return hash ^ (hash >> 32);
}

void ClockCache::Clear() {
  arena_.ClearAndTrim(0);
  // shrink_to_fit() keeps the memory in code without exceptions.
  std::vector<Slot>().swap(slots_);
  count_ = 0;
}

ClockCache::Header ClockCache::HeaderAt(size_t offset) const {
  Small small;
  memcpy(&small, arena_.data() + offset, sizeof small);
  if ((small.flags & kLarge) == 0) {
    const auto table = static_cast<uint32_t>(small.table[0] | small.table[1] << 8);
    return {table,      small.identity_size, small.key_size, small.clock_size, small.clock_room,
            small.flags};
  }
  Large large;
  memcpy(&large, arena_.data() + offset, sizeof large);
  return {large.table,      large.identity_size, large.key_size,
          large.clock_size, large.clock_room,    small.flags};
}

void ClockCache::WriteHeader(size_t offset, const Header& header) {
  const Small small{{static_cast<uint8_t>(header.table), static_cast<uint8_t>(header.table >> 8)},
                    header.flags,
                    static_cast<uint8_t>(header.identity_size),
                    static_cast<uint8_t>(header.key_size),
                    static_cast<uint8_t>(header.clock_size),
                    static_cast<uint8_t>(header.clock_room)};
  const Large large{small,           header.table,      header.identity_size,
                    header.key_size, header.clock_size, header.clock_room};
  memcpy(arena_.data() + offset, &large, header.size());
}

bool ClockCache::Holds(size_t offset, const HashedRow& row) const {
  const Header header = HeaderAt(offset);
  if (header.table != row.table) return false;
  const Span stored{arena_.data() + offset + header.size(), header.identity_size};
  if ((header.flags & kPacked) == 0) return stored == row.identity;
  uint8_t packed[kUuidBytes];
  return PackUuid(row.identity, packed) && stored == Span{packed, kUuidBytes};
}

size_t ClockCache::SlotOf(const HashedRow& row) const {
  const size_t mask = slots_.size() - 1;
  const auto hash = static_cast<uint32_t>(row.hash);
  for (size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.place == 0) return at;
    if (slot.hash == hash && Holds(slot.place - 1, row)) return at;
  }
}

Span ClockCache::Find(const HashedRow& row) const {
  if (slots_.empty()) return {};
  const Slot& slot = slots_[SlotOf(row)];
  if (slot.place == 0) return {};
  const size_t offset = slot.place - 1;
  const Header header = HeaderAt(offset);
  return {arena_.data() + offset + header.clock_offset(), header.clock_size};
}

void ClockCache::Put(const HashedRow& row, Span key, Span clock) {
  if (count_ * 10 >= slots_.size() * 7) GrowSlots();
  Slot& slot = slots_[SlotOf(row)];
  if (slot.place != 0) {
    const size_t offset = slot.place - 1;
    Header header = HeaderAt(offset);
    const bool fits = clock.size <= header.clock_room;
    if (fits) header.clock_size = static_cast<uint32_t>(clock.size);
    if (!fits) header.flags |= kReplaced;
    WriteHeader(offset, header);
    if (fits) {
      memcpy(arena_.data() + offset + header.clock_offset(), clock.data, clock.size);
      return;
    }
  } else {
    count_++;
  }
  Header header;
  header.table = row.table;
  Span identity = row.identity;
  uint8_t packed[kUuidBytes];
  if (key == identity) {
    header.flags |= kKeyIsIdentity;
    key = {};
  }
  if (PackUuid(identity, packed)) {
    header.flags |= kPacked;
    identity = {packed, kUuidBytes};
  }
  if (arena_.size() >= UINT32_MAX) abort();
  slot = {static_cast<uint32_t>(row.hash), static_cast<uint32_t>(arena_.size() + 1)};
  Append(header, identity, key, clock);
}

void ClockCache::Append(const Header& numbers, Span identity, Span key, Span clock) {
  Header header = numbers;
  header.identity_size = static_cast<uint32_t>(identity.size);
  header.key_size = static_cast<uint32_t>(key.size);
  header.clock_size = header.clock_room = static_cast<uint32_t>(clock.size);
  const bool small = header.table <= UINT16_MAX && identity.size <= UINT8_MAX &&
                     key.size <= UINT8_MAX && clock.size <= UINT8_MAX;
  if (!small) header.flags |= kLarge;
  const size_t end = arena_.size() + header.clock_offset() + clock.size;
  // By an eighth: what is reserved counts as used, and doubling would leave half a generation free.
  if (end > arena_.capacity()) arena_.ReserveAll(end + end / 8 + 256);
  WriteHeader(arena_.size(), header);
  arena_.Advance(header.size());
  arena_.Append(identity);
  arena_.Append(key);
  arena_.Append(clock);
}

size_t ClockCache::Next(size_t position, Entry* entry, Bytes* spelled) const {
  while (position < arena_.size()) {
    const Header header = HeaderAt(position);
    const uint8_t* at = arena_.data() + position + header.size();
    // A replaced entry keeps the size of its first clock, its room.
    position += header.clock_offset() + header.clock_room;
    if ((header.flags & kReplaced) != 0) continue;
    entry->table = header.table;
    entry->identity = {at, header.identity_size};
    if ((header.flags & kPacked) != 0) {
      uint8_t* identity = spelled->Reserve(kUuidSpelledBytes);
      SpellUuid(at, identity);
      spelled->Advance(kUuidSpelledBytes);
      entry->identity = {identity, kUuidSpelledBytes};
    }
    entry->key = {at + header.identity_size, header.key_size};
    if ((header.flags & kKeyIsIdentity) != 0) entry->key = entry->identity;
    entry->clock = {at + header.identity_size + header.key_size, header.clock_size};
    return position;
  }
  return 0;
}

void ClockCache::GrowSlots() {
  const size_t size = slots_.empty() ? 1024 : slots_.size() * 2;
  std::vector<Slot> slots(size, Slot{});
  for (const Slot& filled : slots_) {
    if (filled.place == 0) continue;
    size_t at = filled.hash & (size - 1);
    while (slots[at].place != 0) at = (at + 1) & (size - 1);
    slots[at] = filled;
  }
  slots_.swap(slots);
}

}  // namespace mergelite
