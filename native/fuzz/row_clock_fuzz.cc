// Row clocks twice over: bytes as they might stand in a damaged file, and clocks built by the steps
// the input spells, which have to join in any order and any number of times.
#include "../row_clock.h"
#include "fuzz.h"

namespace mergelite::fuzz {
namespace {

Bytes Encoded(const RowClock& clock) {
  Bytes out;
  clock.Encode(&out);
  return out;
}

bool Same(const RowClock& a, const RowClock& b) { return Encoded(a).span() == Encoded(b).span(); }

// Two changesets never have the same stamp, so what a stamp did is a function of the stamp.
RowClock Built(Reader* in, const PeerIds& peers) {
  RowClock clock;
  for (int steps = in->Byte() % 16; steps > 0 && !in->AtEnd(); steps--) {
    const uint8_t what = in->Byte();
    const Stamp stamp{uint64_t{1} + in->Byte() % 32, 1u + what % 4};
    if (what < 64) {
      clock.SetLife(stamp, stamp.timestamp % 3 != 0, peers);
    } else {
      clock.SetColumn(in->Byte() % 8, stamp, peers);
    }
  }
  return clock;
}

RowClock Joined(const RowClock& a, const RowClock& b, const PeerIds& peers) {
  RowClock joined = a;
  joined.Join(b, peers);
  return joined;
}

void JoinLaws(Span bytes, const PeerIds& peers) {
  Reader in(bytes);
  const RowClock a = Built(&in, peers), b = Built(&in, peers), c = Built(&in, peers);
  Require(Same(Joined(a, b, peers), Joined(b, a, peers)), "joining commutes");
  Require(Same(Joined(Joined(a, b, peers), c, peers), Joined(a, Joined(b, c, peers), peers)),
          "joining associates");
  Require(Same(Joined(a, a, peers), a), "joining twice changes nothing");
  RowClock decoded;
  const Bytes encoded = Encoded(a);
  Require(decoded.Decode(Exact(encoded.span()).span()), "an encoded clock decodes");
  Require(Same(decoded, a), "a clock round-trips");
}

void ForeignBytes(Span bytes, const PeerIds& peers) {
  RowClock clock;
  if (!clock.Decode(bytes)) return;
  (void)clock.Of(0);
  RowClock joined;
  joined.Join(clock, peers);
  RowClock again;
  Require(again.Decode(Encoded(joined).span()), "a clock built from foreign bytes encodes");
  Require(Same(again, joined), "and round-trips");
}

}  // namespace
}  // namespace mergelite::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mergelite;
  PeerIds peers;
  peers.by_ordinal = {0, 40, 20, 30, 10};
  fuzz::Exact copy({data, size});
  fuzz::ForeignBytes(copy.span(), peers);
  fuzz::JoinLaws(copy.span(), peers);
  return 0;
}
