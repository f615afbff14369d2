#include "../recent_rows.h"

#include <algorithm>
#include <map>

#include "check.h"

namespace mergelite::test {
namespace {

uint64_t Spread(uint64_t row) {
  uint64_t hash = (row + 1) * 0x9e3779b97f4a7c15u;
  hash = (hash ^ (hash >> 29)) * 0xbf58476d1ce4e5b9u;
  return hash ^ (hash >> 32);
}

// The naive model: the newest timestamp of each row.
using Model = std::map<uint64_t, uint64_t>;

uint64_t ReachOf(const Model& model, uint64_t row) {
  const auto found = model.find(row);
  return found == model.end() ? 0 : found->second;
}

TEST(recent_rows_never_deny_a_stamp) {
  Random random(21);
  RecentRows recent;
  Model model;
  uint64_t floor = 0;
  for (uint64_t i = 0; i < 200000; i++) {
    const uint64_t row = random.Below(60000), timestamp = 1 + i + random.Below(5000);
    recent.Add(Spread(row), timestamp);
    uint64_t& reach = model[row];
    reach = std::max(reach, timestamp);
    if (i == 120000) recent.Raise(floor = 100000);
    const uint64_t other = random.Below(70000), asked = i + random.Below(8000);
    if (asked <= std::max(ReachOf(model, other), floor)) {
      CHECK(recent.MayReach(Spread(other), asked));
    }
  }
}

TEST(recent_rows_tell_most_rows_apart) {
  RecentRows recent;
  // More than the windows hold: the oldest are given up.
  constexpr uint64_t kRows = 6000000;
  for (uint64_t row = 0; row < kRows; row++) recent.Add(Spread(row), 1 + row);
  CHECK(recent.bytes() <= RecentRows::kWindowsMax * RecentRows::kWordsMax * 8);
  CHECK(recent.MayReach(Spread(7), 7));
  CHECK(!recent.MayReach(Spread(7), kRows + 1));
  uint64_t mistaken = 0;
  for (uint64_t row = kRows; row < kRows + 10000; row++) {
    mistaken += recent.MayReach(Spread(row), kRows - 1000) ? 1 : 0;
  }
  CHECK(mistaken > 0 && mistaken < 1000);
}

TEST(recent_rows_are_not_taken_for_what_came_after_a_pause) {
  constexpr uint64_t kMinute = uint64_t{60000} << 13, kRows = 300;
  RecentRows recent;
  for (uint64_t row = 0; row < 4 * kRows; row++) recent.Add(Spread(row), 1);
  // Half of them again, a minute later.
  for (uint64_t row = 0; row < 2 * kRows; row++) recent.Add(Spread(row), kMinute);
  uint64_t mistaken = 0;
  for (uint64_t row = 0; row < 4 * kRows; row++) {
    const bool reaches = recent.MayReach(Spread(row), 2);
    CHECK(reaches || row >= 2 * kRows);
    mistaken += reaches && row >= 2 * kRows ? 1 : 0;
  }
  CHECK(mistaken < kRows / 2);
}

TEST(few_recent_rows_take_little_memory) {
  RecentRows recent;
  CHECK(recent.bytes() == 0);
  for (uint64_t row = 0; row < 100; row++) recent.Add(Spread(row), 5);
  CHECK(recent.bytes() <= 4096);
  recent.Raise(5);
  CHECK(recent.bytes() == 0 && recent.MayReach(Spread(1), 5) && !recent.MayReach(Spread(1), 6));
}

}  // namespace
}  // namespace mergelite::test
