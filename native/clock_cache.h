// Row clocks of changesets that are not folded yet, in memory: a hash table over one arena. Whoever
// looks in vain touches the table alone, which has the hashes. Entries are joined into, never
// removed one by one.
#pragma once
#include "row_clock.h"
#include "uuid.h"

namespace mergelite {

// Spreads over all 64 bits.
uint64_t HashOfRow(uint32_t table, Span identity);

// A row as caches know it. The identity must outlive it.
struct HashedRow {
  uint32_t table;
  Span identity;
  uint64_t hash;

  HashedRow(uint32_t table_id, Span row)
      : table(table_id), identity(row), hash(HashOfRow(table_id, row)) {}
};

class ClockCache {
 public:
  struct Entry {
    uint32_t table = 0;
    Span identity;
    Span key;
    Span clock;
  };

  size_t count() const { return count_; }
  size_t bytes() const { return arena_.capacity() + slots_.capacity() * sizeof(Slot); }
  bool empty() const { return count_ == 0; }
  void Clear();
  void Swap(ClockCache& other) {
    arena_.Swap(other.arena_);
    slots_.swap(other.slots_);
    size_t count = count_;
    count_ = other.count_;
    other.count_ = count;
  }

  // The row's encoded clock, or an empty span.
  Span Find(const HashedRow& row) const;
  // Replaces or adds; whoever does so keeps the whole within Clocks::kChangesetBytesMax and one
  // entry, far below what four bytes can address. `key` is kept beside the identity, for folding
  // writes it to the clock table.
  void Put(const HashedRow& row, Span key, Span clock);

  // Walks entries in the order of their arrival: start with 0, stops when it returns 0. An identity
  // that is kept packed is appended to `spelled`, and the entry points there: at most
  // kUuidSpelledBytes each, which must be reserved where more than one is to stay valid.
  size_t Next(size_t position, Entry* entry, Bytes* spelled) const;

 private:
  // The arena holds a later entry for the same row.
  static constexpr uint8_t kReplaced = 1;
  // The key is encoded as its identity is, like most, and not stored a second time.
  static constexpr uint8_t kKeyIsIdentity = 2;
  // Some number does not fit into the few bytes that nearly all entries need.
  static constexpr uint8_t kLarge = 4;
  // The identity is a UUID and stored in 16 bytes.
  static constexpr uint8_t kPacked = 8;
  struct Header {
    uint32_t table = 0;
    uint32_t identity_size = 0;  // as it is stored
    uint32_t key_size = 0;
    uint32_t clock_size = 0;
    uint32_t clock_room = 0;
    uint8_t flags = 0;

    size_t size() const { return (flags & kLarge) == 0 ? sizeof(Small) : sizeof(Large); }
    size_t clock_offset() const { return size() + identity_size + key_size; }
  };
  // How a header is stored.
  struct Small {
    uint8_t table[2];  // low, high
    uint8_t flags, identity_size, key_size, clock_size, clock_room;
  };
  struct Large {
    Small small;
    uint32_t table, identity_size, key_size, clock_size, clock_room;
  };
  struct Slot {
    uint32_t hash;
    uint32_t place;  // arena offset + 1, 0 is free
  };
  void WriteHeader(size_t offset, const Header& header);
  size_t SlotOf(const HashedRow& row) const;
  bool Holds(size_t offset, const HashedRow& row) const;
  void Append(const Header& header, Span identity, Span key, Span clock);
  Header HeaderAt(size_t offset) const;
  void GrowSlots();

  Bytes arena_;
  std::vector<Slot> slots_;
  size_t count_ = 0;
};

}  // namespace mergelite
