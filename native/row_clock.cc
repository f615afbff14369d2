#include "row_clock.h"

#include <algorithm>

namespace mergelite {
namespace {

constexpr uint8_t kHasLife = 1;
constexpr uint8_t kAlive = 2;
constexpr uint8_t kHasOverrides = 4;
// 53 bits, stored in seven bytes: a varint would take eight.
constexpr size_t kTimestampBytes = 7;

}  // namespace

const Stamp& RowClock::Of(uint32_t column) const {
  for (const Override& entry : overrides) {
    if (entry.column == column) return entry.stamp;
  }
  return life;
}

void RowClock::SetLife(const Stamp& stamp, bool is_alive, const PeerIds& peers) {
  if (has_life && peers.Newer(life, stamp)) return;
  has_life = true;
  alive = is_alive;
  life = stamp;
  auto older = [&](const Override& entry) { return !peers.Newer(entry.stamp, stamp); };
  overrides.erase(std::remove_if(overrides.begin(), overrides.end(), older), overrides.end());
}

void RowClock::SetColumn(uint32_t column, const Stamp& stamp, const PeerIds& peers) {
  if (has_life && !peers.Newer(stamp, life)) return;
  auto at = overrides.begin();
  while (at != overrides.end() && at->column < column) ++at;
  if (at == overrides.end() || at->column != column) {
    overrides.insert(at, Override{column, stamp});
  } else if (peers.Newer(stamp, at->stamp)) {
    at->stamp = stamp;
  }
}

void RowClock::Join(const RowClock& other, const PeerIds& peers) {
  if (other.has_life) SetLife(other.life, other.alive, peers);
  for (const Override& entry : other.overrides) SetColumn(entry.column, entry.stamp, peers);
}

void RowClock::Encode(Bytes* out) const {
  out->Byte(static_cast<uint8_t>((has_life ? kHasLife : 0) | (alive ? kAlive : 0) |
                                 (overrides.empty() ? 0 : kHasOverrides)));
  if (has_life) {
    out->Little(life.timestamp, kTimestampBytes);
    out->Varint(life.origin);
  }
  for (const Override& entry : overrides) {
    // Relative to life, which every override is newer than: a few bytes instead of seven.
    out->Varint(entry.column);
    out->Varint(entry.stamp.timestamp - life.timestamp);
    out->Varint(entry.stamp.origin);
  }
}

bool RowClock::Decode(Span bytes) {
  Reset();
  Reader in(bytes);
  const uint8_t flags = in.Byte();
  has_life = (flags & kHasLife) != 0;
  alive = (flags & kAlive) != 0;
  if (has_life) {
    life.timestamp = in.Little(kTimestampBytes);
    life.origin = static_cast<Ordinal>(in.Varint());
  }
  while (in.ok() && !in.AtEnd()) {
    Override entry;
    entry.column = static_cast<uint32_t>(in.Varint());
    entry.stamp.timestamp = life.timestamp + in.Varint();
    entry.stamp.origin = static_cast<Ordinal>(in.Varint());
    overrides.push_back(entry);
  }
  return in.ok();
}

}  // namespace mergelite
