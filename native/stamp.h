// A stamp (timestamp, origin) orders all changesets of all peers in one line.
#pragma once
#include <cstdint>
#include <vector>

namespace mergelite {

// Origins are stored by ordinal, a small number of this file; the order is that of the peer ids.
// A peer's own ids take odd ordinals, so that its own changesets end the log table (see LogBase).
using Ordinal = uint32_t;
constexpr Ordinal kOrdinalMax = (1u << 22) - 1;

struct Stamp {
  uint64_t timestamp = 0;
  Ordinal origin = 0;

  bool operator==(const Stamp& other) const {
    return timestamp == other.timestamp && origin == other.origin;
  }
};

// Peer ids by ordinal.
struct PeerIds {
  std::vector<uint64_t> by_ordinal;

  uint64_t Of(Ordinal ordinal) const {
    return ordinal < by_ordinal.size() ? by_ordinal[ordinal] : 0;
  }
  bool Newer(const Stamp& a, const Stamp& b) const {
    if (a.timestamp != b.timestamp) return a.timestamp > b.timestamp;
    return a.origin != b.origin && Of(a.origin) > Of(b.origin);
  }
};

// Sequences have 40 bits; an origin's changesets are one key range of the log.
constexpr int kSequenceBits = 40;
constexpr uint64_t kSequenceMax = (uint64_t{1} << kSequenceBits) - 1;

constexpr int64_t LogBase(Ordinal ordinal) {
  const uint64_t last = ordinal & 1;
  return static_cast<int64_t>((last << 22 | ordinal) << kSequenceBits);
}
constexpr bool IsOwn(Ordinal ordinal) { return (ordinal & 1) != 0; }
constexpr Ordinal OrdinalOf(int64_t log_id) {
  return static_cast<Ordinal>(static_cast<uint64_t>(log_id) >> kSequenceBits) & kOrdinalMax;
}
constexpr uint64_t SequenceOf(int64_t log_id) {
  return static_cast<uint64_t>(log_id) & kSequenceMax;
}
static_assert(OrdinalOf(LogBase(7) + 3) == 7 && SequenceOf(LogBase(7) + 3) == 3);

}  // namespace mergelite
