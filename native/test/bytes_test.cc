#include "../bytes.h"

#include "../crc32c.h"
#include "../hlc.h"
#include "../stamp.h"
#include "check.h"

namespace mergelite::test {
namespace {

bool Refuses(const uint8_t* bytes, size_t size) {
  const Exact copy({bytes, size});
  Reader in(copy.span());
  in.Varint();
  return !in.ok();
}

TEST(varints_round_trip) {
  Random random(1);
  for (int i = 0; i < 20000; i++) {
    // Each power of two and its neighbours, then anything.
    const uint64_t value = i < 192 ? (uint64_t{1} << (i / 3)) + i % 3 - 1 : random.AnyWidth();
    Bytes out;
    out.Varint(value);
    CHECK(out.size() <= kVarintBytesMax);
    const Exact copy(out.span());
    Reader in(copy.span());
    CHECK(in.Varint() == value && in.ok() && in.AtEnd());
    for (size_t size = 0; size < out.size(); size++) CHECK(Refuses(out.data(), size));
  }
}

TEST(varints_have_one_spelling) {
  const uint8_t zero_in_two[] = {0x80, 0x00};
  const uint8_t one_in_three[] = {0x81, 0x80, 0x00};
  const uint8_t beyond_64_bits[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
  const uint8_t eleven_bytes[] = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01};
  CHECK(Refuses(zero_in_two, sizeof zero_in_two));
  CHECK(Refuses(one_in_three, sizeof one_in_three));
  CHECK(Refuses(beyond_64_bits, sizeof beyond_64_bits));
  CHECK(Refuses(eleven_bytes, sizeof eleven_bytes));
}

TEST(a_reader_that_failed_stays_failed) {
  const uint8_t bytes[] = {1, 2, 3};
  Reader in(Span{bytes, sizeof bytes});
  CHECK(in.Take(4).size == 0 && !in.ok());
  CHECK(in.Byte() == 0 && in.Varint() == 0 && in.Little(1) == 0 && in.Take(1).data == nullptr);
  CHECK(in.left() == 0 && !in.ok());
}

TEST(a_length_near_2_to_64_is_refused) {
  const uint8_t bytes[] = {1, 2, 3};
  Reader in(Span{bytes, sizeof bytes});
  CHECK(in.Take(UINT64_MAX).size == 0 && !in.ok());
}

TEST(bytes_grow_and_keep_what_they_hold) {
  Bytes out;
  for (uint32_t i = 0; i < 100000; i++) out.Little(i, 4);
  Reader in(out.span());
  for (uint32_t i = 0; i < 100000; i++) CHECK(in.Little(4) == i);
  CHECK(in.ok() && in.AtEnd());
  Bytes moved(static_cast<Bytes&&>(out));
  CHECK(out.empty() && moved.size() == 400000);
  moved.ClearAndTrim(1024);
  CHECK(moved.empty() && moved.capacity() == 0);
}

TEST(crc32c_has_the_check_values_of_rfc_3720) {
  uint8_t bytes[32] = {};
  CHECK(Crc32c({bytes, 32}) == 0x8a9136aau);  // 32 bytes of zeroes
  memset(bytes, 0xff, 32);
  CHECK(Crc32c({bytes, 32}) == 0x62a8ab43u);  // of ones
  for (uint8_t i = 0; i < 32; i++) bytes[i] = i;
  CHECK(Crc32c({bytes, 32}) == 0x46dd794eu);  // ascending
  for (uint8_t i = 0; i < 32; i++) bytes[i] = static_cast<uint8_t>(31 - i);
  CHECK(Crc32c({bytes, 32}) == 0x113fdb5cu);  // descending
  CHECK(Crc32c(SpanOf("123456789")) == 0xe3069283u);
  CHECK(Crc32c({}) == 0);
}

TEST(crc32c_eight_bytes_a_step_is_bit_by_bit) {
  Random random(2);
  uint8_t bytes[64];
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
  for (size_t size = 0; size <= sizeof bytes; size++) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
      crc ^= bytes[i];
      for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    }
    CHECK(Crc32c({bytes, size}) == ~crc);
  }
}

TEST(the_clock_ticks_upwards_whatever_the_wall_says) {
  Random random(3);
  uint64_t last = 0;
  for (int i = 0; i < 10000; i++) {
    const int64_t wall_ms = kEpochMs - 1000 + static_cast<int64_t>(random.Below(5000));
    const uint64_t next = Tick(last, wall_ms);
    CHECK(next > last && next >= TimestampOf(wall_ms));
    last = next;
  }
  CHECK(TimestampOf(0) == 0 && TimestampOf(kEpochMs - 1) == 0);
  CHECK(WallMsOf(TimestampOf(kEpochMs + 123456789)) == kEpochMs + 123456789);
  CHECK(TimestampOf(WallMsOf(kTimestampMax)) <= kTimestampMax);
}

TEST(a_full_counter_carries_into_the_milliseconds) {
  const uint64_t full = TimestampOf(kEpochMs + 8) - 1;
  CHECK(WallMsOf(full) == kEpochMs + 7);
  CHECK(WallMsOf(Tick(full, kEpochMs)) == kEpochMs + 8);
}

TEST(stamps_are_ordered_by_time_then_peer_id) {
  PeerIds peers;
  peers.by_ordinal = {0, 900, 100};
  CHECK(peers.Newer({2, 2}, {1, 1}) && !peers.Newer({1, 1}, {2, 2}));
  CHECK(peers.Newer({1, 1}, {1, 2}) && !peers.Newer({1, 2}, {1, 1}));
  CHECK(!peers.Newer({1, 1}, {1, 1}));
}

TEST(log_ids_hold_origin_and_sequence) {
  Random random(4);
  for (int i = 0; i < 10000; i++) {
    const auto ordinal = static_cast<Ordinal>(random.Below(kOrdinalMax) + 1);
    const uint64_t sequence = random.Next() & kSequenceMax;
    const int64_t id = LogBase(ordinal) + static_cast<int64_t>(sequence);
    CHECK(id >= 0 && OrdinalOf(id) == ordinal && SequenceOf(id) == sequence);
    // A peer's own changesets, under odd ordinals, come after everyone else's.
    if (ordinal % 2 == 1) CHECK(LogBase(ordinal) > LogBase(kOrdinalMax - 1));
  }
}

}  // namespace
}  // namespace mergelite::test
