#include "../standoffs.h"

#include <map>
#include <set>

#include "check.h"

namespace mergelite::test {
namespace {

constexpr Standoffs::Epoch kEpoch{1, 7};

Bytes Named(uint64_t row) {
  Bytes identity;
  identity.Varint(row);
  return identity;
}

std::set<uint64_t> Opened(Standoffs* standoffs) {
  std::vector<Bytes> identities;
  standoffs->TakeOpen(&identities);
  std::set<uint64_t> rows;
  for (const Bytes& identity : identities) rows.insert(Reader(identity.span()).Varint());
  return rows;
}

TEST(standoffs_know_one_epoch) {
  Standoffs standoffs;
  CHECK(!standoffs.Knows({}));
  standoffs.Block(1, Named(1).span(), 2);
  CHECK(standoffs.live() == 0);
  standoffs.Learn(kEpoch);
  CHECK(standoffs.Knows(kEpoch));
  CHECK(!standoffs.Knows({2, 7}));
  CHECK(!standoffs.Knows({1, 8}));
}

// Against the naive model, with hashes that many rows share.
TEST(standoffs_open_what_is_touched) {
  Random random(5);
  Standoffs standoffs;
  standoffs.Learn(kEpoch);
  std::map<uint64_t, uint64_t> by;  // 0: open
  const auto hash = [](uint64_t row) { return 1 + row % 97; };
  for (int i = 0; i < 20000; i++) {
    const uint64_t row = 1 + random.Below(300), other = 1 + random.Below(97);
    switch (random.Below(8)) {
      case 0:
        standoffs.Remove(hash(row), Named(row).span());
        by.erase(row);
        break;
      case 1:
        standoffs.Open(hash(row), Named(row).span());
        by[row] = 0;
        break;
      case 2:
        standoffs.Touch(other);
        for (auto& [blocked, blocker] : by) {
          if (hash(blocked) == other || blocker == other) blocker = 0;
        }
        break;
      case 3: {
        std::set<uint64_t> open;
        for (const auto& [blocked, blocker] : by) {
          if (blocker == 0) open.insert(blocked);
        }
        CHECK(Opened(&standoffs) == open);
        for (const uint64_t one : open) standoffs.Open(hash(one), Named(one).span());
        break;
      }
      default:
        standoffs.Block(hash(row), Named(row).span(), other);
        by[row] = other;
    }
    CHECK(standoffs.live() == by.size());
  }
  CHECK(standoffs.bytes() < 100000);
}

TEST(standoffs_forget_rather_than_grow) {
  Standoffs standoffs;
  standoffs.Learn(kEpoch);
  uint64_t row = 0;
  while (standoffs.Knows(kEpoch) && row < 1000000) {
    row++;
    standoffs.Block(row, Named(row).span(), row / 10);
    CHECK(standoffs.bytes() <= Standoffs::kBytesMax);
  }
  CHECK(row > 10000 && row < 100000);
  CHECK(standoffs.live() == 0);
}

}  // namespace
}  // namespace mergelite::test
