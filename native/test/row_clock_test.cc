#include "../row_clock.h"

#include <algorithm>

#include "../clock_cache.h"
#include "../ids.h"
#include "../value.h"
#include "check.h"

namespace mergelite::test {
namespace {

// Peer ids not in the order of their ordinals.
PeerIds Peers() {
  PeerIds peers;
  peers.by_ordinal = {0, 500, 100, 400, 200, 300};
  return peers;
}

struct Step {
  bool is_life;
  bool alive;
  uint32_t column;
  Stamp stamp;
};

// A stamp belongs to one changeset, so what happened at it is a function of it.
Step RandomStep(Random* random) {
  const Stamp stamp{1 + random->Below(20), static_cast<Ordinal>(1 + random->Below(5))};
  return {random->Below(3) == 0, (stamp.timestamp + stamp.origin) % 3 != 0,
          static_cast<uint32_t>(random->Below(6)), stamp};
}

void Take(const Step& step, const PeerIds& peers, RowClock* clock) {
  if (step.is_life) {
    clock->SetLife(step.stamp, step.alive, peers);
  } else {
    clock->SetColumn(step.column, step.stamp, peers);
  }
}

RowClock RandomClock(Random* random, const PeerIds& peers) {
  RowClock clock;
  for (uint64_t steps = random->Below(12); steps > 0; steps--) {
    Take(RandomStep(random), peers, &clock);
  }
  return clock;
}

RowClock Joined(const RowClock& a, const RowClock& b, const PeerIds& peers) {
  RowClock joined = a;
  joined.Join(b, peers);
  return joined;
}

bool Same(const RowClock& a, const RowClock& b) {
  if (a.has_life != b.has_life || a.alive != b.alive || !(a.life == b.life)) return false;
  if (a.overrides.size() != b.overrides.size()) return false;
  for (size_t i = 0; i < a.overrides.size(); i++) {
    if (a.overrides[i].column != b.overrides[i].column) return false;
    if (!(a.overrides[i].stamp == b.overrides[i].stamp)) return false;
  }
  return true;
}

TEST(row_clocks_join_in_any_order_any_number_of_times) {
  const PeerIds peers = Peers();
  Random random(6);
  for (int i = 0; i < 30000; i++) {
    const RowClock a = RandomClock(&random, peers);
    const RowClock b = RandomClock(&random, peers);
    const RowClock c = RandomClock(&random, peers);
    CHECK(Same(Joined(a, b, peers), Joined(b, a, peers)));
    CHECK(Same(Joined(Joined(a, b, peers), c, peers), Joined(a, Joined(b, c, peers), peers)));
    CHECK(Same(Joined(a, a, peers), a));
    CHECK(Same(Joined(Joined(a, b, peers), b, peers), Joined(a, b, peers)));
  }
}

TEST(row_clocks_do_not_depend_on_the_order_of_changesets) {
  const PeerIds peers = Peers();
  Random random(7);
  for (int i = 0; i < 20000; i++) {
    std::vector<Step> steps;
    for (uint64_t count = random.Below(10); count > 0; count--) {
      steps.push_back(RandomStep(&random));
    }
    RowClock forward, shuffled;
    for (const Step& step : steps) Take(step, peers, &forward);
    for (size_t at = steps.size(); at > 1; at--) std::swap(steps[at - 1], steps[random.Below(at)]);
    for (const Step& step : steps) Take(step, peers, &shuffled);
    CHECK(Same(forward, shuffled));
  }
}

TEST(each_register_of_a_row_keeps_its_largest_stamp) {
  const PeerIds peers = Peers();
  Random random(8);
  for (int i = 0; i < 20000; i++) {
    RowClock clock;
    Stamp life, columns[6];
    for (uint64_t count = random.Below(12); count > 0; count--) {
      const Step step = RandomStep(&random);
      Take(step, peers, &clock);
      Stamp* held = step.is_life ? &life : &columns[step.column];
      if (peers.Newer(step.stamp, *held)) *held = step.stamp;
    }
    CHECK(clock.life == life);
    for (uint32_t column = 0; column < 6; column++) {
      const bool newer = peers.Newer(columns[column], life);
      CHECK(clock.Of(column) == (newer ? columns[column] : life));
    }
  }
}

TEST(row_clocks_round_trip) {
  const PeerIds peers = Peers();
  Random random(9);
  for (int i = 0; i < 20000; i++) {
    const RowClock clock = RandomClock(&random, peers);
    Bytes out;
    clock.Encode(&out);
    RowClock again;
    CHECK(again.Decode(Exact(out.span()).span()) && Same(clock, again));
  }
}

TEST(cut_row_clocks_are_safe_to_decode) {
  const PeerIds peers = Peers();
  Random random(10);
  for (int i = 0; i < 5000; i++) {
    Bytes out;
    RandomClock(&random, peers).Encode(&out);
    for (size_t size = 0; size < out.size(); size++) {
      RowClock clock;
      // Cut between two overrides it still reads as a clock; anywhere else it must be refused.
      if (!clock.Decode(Exact(out.span(), size).span())) continue;
      Bytes again;
      clock.Encode(&again);
      CHECK(again.size() == size);
    }
  }
}

// The naive model of ClockCache: a list, searched from the front.
struct Model {
  struct Entry {
    uint32_t table;
    Bytes identity, key, clock;
  };
  std::vector<Entry> entries;

  Entry* Find(uint32_t table, Span identity) {
    for (Entry& entry : entries) {
      if (entry.table == table && entry.identity.span() == identity) return &entry;
    }
    return nullptr;
  }
};

Bytes RandomBytes(Random* random, uint64_t size) {
  Bytes out;
  for (; size > 0; size--) out.Byte(static_cast<uint8_t>(random->Next()));
  return out;
}

Bytes Uuid(uint8_t number, bool lower) {
  uint8_t value[kUuidSpelledBytes], packed[kUuidBytes] = {0xab, number};
  SpellUuid(packed, value);
  if (!lower) value[1] = 'A';
  Bytes out;
  out.Append(value, sizeof value);
  return out;
}

void PutInBoth(Random* random, ClockCache* cache, Model* model) {
  const auto table = static_cast<uint32_t>(random->Below(3) * 65535);
  Bytes identity;
  identity.Varint(random->Below(400));
  // Keys of every length around the hash's eight-byte steps.
  for (uint64_t i = identity.data()[0] % 20; i > 0; i--) identity.Byte(7);
  // A few that need large headers: long keys, long clocks, high numbers of tables.
  const bool large = identity.data()[0] % 16 == 3;
  for (int i = 0; large && i < 300; i++) identity.Byte(8);
  // UUIDs, which are kept in another way; and texts that only look like them.
  const bool uuid = identity.data()[0] % 8 == 5;
  if (uuid) identity = Uuid(identity.data()[0], random->Below(2) == 0);
  Bytes clock = RandomBytes(random, 1 + random->Below(random->Below(20) == 0 ? 600 : 30));
  Model::Entry* entry = model->Find(table, identity.span());
  if (entry == nullptr) {
    Bytes copy, key = RandomBytes(random, random->Below(12));
    copy.Append(identity.span());
    // Most keys are their identities.
    if (random->Below(2) == 0) key.Clear(), key.Append(identity.span());
    model->entries.push_back({table, static_cast<Bytes&&>(copy), static_cast<Bytes&&>(key), {}});
    entry = &model->entries.back();
  }
  cache->Put({table, identity.span()}, entry->key.span(), clock.span());
  entry->clock = static_cast<Bytes&&>(clock);
}

void CheckWalk(const ClockCache& cache, Model* model) {
  size_t seen = 0;
  ClockCache::Entry entry;
  Bytes spelled;
  for (size_t at = 0; (at = cache.Next(at, &entry, &spelled)) != 0; spelled.Clear()) {
    const Span identity = entry.identity;
    Model::Entry* expected = model->Find(entry.table, identity);
    CHECK(expected != nullptr && expected->clock.span() == entry.clock);
    const Span key = entry.key;
    CHECK(expected->key.span() == key);
    seen++;
  }
  CHECK(seen == model->entries.size());
}

TEST(neighbouring_integer_keys_have_neighbouring_hashes) {
  const auto hash = [](uint32_t table, int64_t key) {
    Bytes identity;
    AppendInteger(&identity, key);
    return HashOfRow(table, identity.span());
  };
  constexpr int64_t kId = (int64_t{60000000} << (kIdCountBits + kIdLaneBits)) + 7777;
  for (const int64_t first : {-(int64_t{1} << 40), int64_t{-8}, int64_t{0}, int64_t{120}, kId}) {
    const int64_t step = first == kId ? 1 << kIdLaneBits : 1;
    uint64_t seen = 0;
    for (int64_t i = 0; i < 8; i++) {
      CHECK(hash(3, first + i * step) >> 3 == hash(3, first) >> 3);
      seen |= uint64_t{1} << (hash(3, first + i * step) & 7);
    }
    CHECK(seen == 255);
    CHECK(hash(3, first + 8 * step) >> 3 != hash(3, first) >> 3);
    CHECK(hash(4, first) >> 3 != hash(3, first) >> 3);
  }
}

TEST(the_clock_cache_is_a_map) {
  Random random(11);
  ClockCache cache;
  Model model;
  for (int i = 0; i < 6000; i++) {
    PutInBoth(&random, &cache, &model);
    CHECK(cache.count() == model.entries.size());
    if (i % 500 == 0) CheckWalk(cache, &model);
  }
  for (Model::Entry& entry : model.entries) {
    CHECK(cache.Find({entry.table, entry.identity.span()}) == entry.clock.span());
    CHECK(cache.Find({entry.table + 1, entry.identity.span()}).size == 0);
  }
  CheckWalk(cache, &model);
  ClockCache other;
  other.Swap(cache);
  CHECK(cache.empty() && other.count() == model.entries.size());
  CheckWalk(other, &model);
  const size_t bytes = other.bytes();
  other.Clear();
  CHECK(other.empty() && other.bytes() < bytes);
  CHECK(other.Find({0, model.entries[0].identity.span()}).size == 0);
}

}  // namespace
}  // namespace mergelite::test
