#include <initializer_list>

#include "../crc64.h"
#include "../ltx_stream.h"
#include "check.h"

namespace mergelite::test {
namespace {

bool Decompresses(std::initializer_list<uint8_t> block, size_t size) {
  Exact exact({block.begin(), block.size()});
  Bytes out;
  return Lz4Decompress(exact.span(), out.Reserve(size), size);
}

TEST(Crc64HasItsCheckValue) {
  CHECK(Crc64(0, SpanOf("123456789")) == 0xb90956c775a41001u);
  CHECK(Crc64(Crc64(0, SpanOf("1234")), SpanOf("56789")) == 0xb90956c775a41001u);
  CHECK(Crc64(0, {}) == 0);
}

uint64_t Crc64BitByBit(Span span) {
  uint64_t crc = ~uint64_t{0};
  for (size_t i = 0; i < span.size; i++) {
    crc ^= span.data[i];
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) * 0xd800000000000000u);
  }
  return ~crc;
}

TEST(Crc64IsTheSameHoweverManyBytesAreTakenAtOnce) {
  uint8_t bytes[600];
  uint32_t random = 1;
  for (uint8_t& byte : bytes)
    byte = static_cast<uint8_t>((random = random * 1103515245 + 12345) >> 16);
  for (size_t size = 0; size <= 500; size++) {
    const Span all{bytes + size % 17, size};
    const uint64_t crc = Crc64BitByBit(all);
    CHECK(Crc64(0, all) == crc);
    const size_t cut = size * 7 / 11;
    CHECK(Crc64(Crc64(0, {all.data, cut}), {all.data + cut, size - cut}) == crc);
  }
}

TEST(Lz4BlocksAreReadAsTheyAreSpecified) {
  // Three literals, then nine bytes from three back, then the last literals.
  const uint8_t block[] = {0x35, 'a', 'b', 'c', 3, 0, 0x10, 'z'};
  uint8_t out[13];
  CHECK(Lz4Decompress({block, sizeof block}, out, sizeof out));
  CHECK(memcmp(out, "abcabcabcabcz", sizeof out) == 0);
  CHECK(!Lz4Decompress({block, sizeof block}, out, 12));
}

TEST(Lz4BlocksThatLieAreRefused) {
  CHECK(!Decompresses({}, 0));
  CHECK(Decompresses({0x00}, 0));
  CHECK(!Decompresses({0x20, 'a'}, 2));                      // literals cut off
  CHECK(!Decompresses({0xf0}, 15));                          // a length cut off
  CHECK(!Decompresses({0xf0, 255, 255}, 600));               // a long one
  CHECK(!Decompresses({0x10, 'a', 0, 0, 0x00}, 5));          // a distance of nothing
  CHECK(!Decompresses({0x10, 'a', 2, 0, 0x00}, 5));          // one from before the page
  CHECK(!Decompresses({0x10, 'a', 1}, 5));                   // a distance cut off
  CHECK(!Decompresses({0x1f, 'a', 1, 0, 255, 0, 0x00}, 5));  // a match beyond the page
  CHECK(!Decompresses({0x10, 'a', 1, 0}, 5));                // a match at the end
  CHECK(Decompresses({0x10, 'a', 1, 0, 0x00}, 5));
}

TEST(Lz4BlocksThatAreDamagedDoNoHarm) {
  Random random(7);
  uint8_t page[4096];
  for (size_t i = 0, left = 0, back = 0; i < sizeof page; i++) {
    if (left == 0) left = 2 + random.Below(20), back = random.Below(4) * random.Below(60);
    page[i] = back == 0 || back > i ? static_cast<uint8_t>(random.Next()) : page[i - back];
    left--;
  }
  Bytes block;
  const size_t size = Lz4Compress({page, sizeof page}, block.Reserve(Lz4Bound(sizeof page)));
  CHECK(size < sizeof page);
  for (int run = 0; run < 3000; run++) {
    Bytes damaged, out;
    damaged.Append(block.data(), size);
    damaged.data()[random.Below(size)] = static_cast<uint8_t>(random.Next());
    const Exact exact({damaged.data(), size - random.Below(3)});
    const size_t pages = random.Below(2) == 0 ? sizeof page : random.Below(sizeof page);
    out.ReserveAll(pages);
    (void)Lz4Decompress(exact.span(), out.data(), pages);
  }
}

TEST(Lz4CompressesWhatRepeats) {
  Bytes page, block;
  for (size_t i = 0; i < 65536; i++)
    page.Byte(static_cast<uint8_t>(i % 100 < 90 ? i % 100 : i >> 7));
  const size_t size = Lz4Compress(page.span(), block.Reserve(Lz4Bound(page.size())));
  CHECK(size < page.size() / 4);
  Bytes out;
  CHECK(Lz4Decompress({block.data(), size}, out.Reserve(page.size()), page.size()));
  CHECK(memcmp(out.data(), page.data(), page.size()) == 0);
}

TEST(LtxPagesWithUnknownHeadsAreRefused) {
  const auto is_wrong = [](std::initializer_list<uint8_t> head) {
    uint32_t number = 0;
    uint8_t page[512];
    LtxStream stream(512, 9, false, {});
    stream.Decode({head.begin(), head.size()}, {512, 1, &number, page});
    return !stream.wrong().empty();
  };
  CHECK(is_wrong({0, 0, 0, 1, 0, 0, 4, 0x22, 0x4d, 0x18}));
  CHECK(is_wrong({0, 0, 0, 1, 0, 3, 0, 0, 0, 1}));
  CHECK(is_wrong({0, 0, 0, 0, 0, 1}));
  CHECK(is_wrong({0, 0, 0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff}));
  CHECK(is_wrong({0, 0, 0, 10, 0, 1, 0, 0, 0, 0}));
  CHECK(!is_wrong({0, 0, 0, 1, 0, 1, 0, 0, 0, 1}));
}

// Whether pages 1 to `last`, but for `without`, are all that a file has to have.
bool IsOrder(const LtxOrder& empty, uint32_t last, std::initializer_list<uint32_t> without) {
  LtxOrder order = empty;
  Text wrong;
  for (uint32_t page = 1; page <= last; page++) {
    bool is_left_out = false;
    for (uint32_t each : without) is_left_out = is_left_out || each == page;
    if (!is_left_out && !order.Take(page, &wrong)) return false;
  }
  return order.End(&wrong);
}

TEST(ASnapshotHasEveryPageButTheOneThatSqliteLocks) {
  const uint32_t lock = LockPage(65536);
  const LtxOrder snapshot(65536, lock + 1, true);
  CHECK(IsOrder(snapshot, lock + 1, {lock}));
  CHECK(!IsOrder(snapshot, lock + 1, {}));
  CHECK(!IsOrder(snapshot, lock, {lock}));
  CHECK(!IsOrder(snapshot, lock + 2, {lock}));
  CHECK(!IsOrder(snapshot, lock + 1, {1, lock}));
  CHECK(!IsOrder(snapshot, lock + 1, {9, lock}));
  CHECK(!IsOrder(snapshot, 0, {}));
  CHECK(IsOrder({65536, lock, true}, lock, {lock}));
  CHECK(IsOrder({65536, lock + 1, false}, 0, {}));
  CHECK(!IsOrder({65536, lock + 1, false}, lock, {}));
}

TEST(PagesOfAFileRise) {
  LtxOrder order(512, 9, false);
  Text wrong;
  CHECK(order.Take(5, &wrong) && order.Take(9, &wrong));
  CHECK(!order.Take(9, &wrong));
  CHECK(wrong.span() == Text("page 9 follows page 9").span());
}

}  // namespace
}  // namespace mergelite::test
