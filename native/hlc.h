// Hybrid logical clock readings of 53 bits (Kulkarni et al., "Logical Physical Clocks", 2014):
// 40 bits of milliseconds since 2025-01-01, then 13 bits that count within one millisecond. 53
// bits, so that a reading is exact as a JavaScript number and as an SQLite integer.
#pragma once
#include <cstdint>

namespace mergelite {

constexpr int64_t kEpochMs = 1735689600000;  // 2025-01-01T00:00:00Z in Unix milliseconds
constexpr int kCounterBits = 13;
constexpr uint64_t kTimestampMax = (uint64_t{1} << 53) - 1;

// What rows carry that existed before replication began: older than every real write, so that a
// stale copy of a file never overrules one.
constexpr uint64_t kBeforeAllWrites = 1;

// Transactions stamp in steps of eight. What lies between is for values that a migration fills in:
// newer than what it replaces, and older than every write that came after that.
constexpr uint64_t kTickBits = 7;
// 0 when there is no room left: after seven migrations of one value that nobody has written since.
constexpr uint64_t FillAfter(uint64_t timestamp) {
  return (timestamp & kTickBits) == kTickBits ? 0 : timestamp + 1;
}

constexpr uint64_t TimestampOf(int64_t wall_ms) {
  return wall_ms <= kEpochMs ? 0 : static_cast<uint64_t>(wall_ms - kEpochMs) << kCounterBits;
}
constexpr int64_t WallMsOf(uint64_t timestamp) {
  return static_cast<int64_t>(timestamp >> kCounterBits) + kEpochMs;
}
// The next reading: above `last` whatever the wall clock says, and not below the wall clock. A
// counter that overflows carries into the milliseconds.
constexpr uint64_t Tick(uint64_t last, int64_t wall_ms) {
  const uint64_t wall = TimestampOf(wall_ms);
  return wall > last ? wall : (last | kTickBits) + 1;
}

static_assert(Tick(0, kEpochMs + 1) == 1u << kCounterBits, "follows the wall clock");
static_assert(Tick(TimestampOf(kEpochMs + 5), kEpochMs + 1) == TimestampOf(kEpochMs + 5) + 8,
              "time going backwards changes nothing");
static_assert(Tick(13, kEpochMs) == 16 && Tick(16, kEpochMs) == 24, "fills are no readings");
static_assert(FillAfter(16) == 17 && FillAfter(23) == 0, "a fill never is");

}  // namespace mergelite
