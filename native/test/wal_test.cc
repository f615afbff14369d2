#include <initializer_list>

#include "../wal_format.h"
#include "../wal_index.h"
#include "../wal_scan.h"
#include "check.h"

namespace mergelite::test {
namespace {

constexpr size_t kPageBytes = 512, kFrames = 3;
constexpr size_t kFrameBytes = kWalFrameHeadBytes + kPageBytes;

// What is not zero, in hexadecimal digits.
struct Run {
  size_t at;
  const char* digits;
};

uint8_t Digit(char digit) {
  return static_cast<uint8_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

struct Image {
  Image(size_t size, std::initializer_list<Run> runs) {
    memset(bytes.Reserve(size), 0, size);
    bytes.Advance(size);
    for (const Run& run : runs) {
      for (size_t i = 0; run.digits[2 * i] != 0; i++) {
        bytes.data()[run.at + i] =
            static_cast<uint8_t>(Digit(run.digits[2 * i]) << 4 | Digit(run.digits[2 * i + 1]));
      }
    }
  }
  const uint8_t* at(size_t offset) const { return bytes.data() + offset; }
  Bytes bytes;
};

// SQLite 3.53.2, page_size = 512: CREATE TABLE a (b); INSERT INTO a VALUES ('golden').
Image GoldenWal() {
  return Image(
      kWalHeadBytes + kFrames * kFrameBytes,
      {{0, "377f0682002de218000002"},
       {16, "6ac321b4f4d9c3b088ecc67df18a781600000001"},
       {40,
        "6ac321b4f4d9c3b0cf71175f1aefc2c753514c69746520666f726d6174203300020002020040202000"
        "00000200000002"},
       {99, "0100000004"},
       {115, "01"},
       {151, "02002e95ca0d0000000101de0001de"},
       {534,
        "200106170f0f01317461626c65616102435245415445205441424c4520612028622900000002000000"
        "026ac321b4f4d9c3b0634c8c28494e0c790d"},
       {597, "02"},
       {1107, "02000000026ac321b4f4d9c3b091302bd70413840d0d0000000101f60001f6"},
       {1630, "08010219676f6c64656e"}});
}

Image GoldenIndex() {
  return Image(
      kWalIndexZoneBytes,
      {{0, "18e22d"},
       {8,
        "02000000010000020300000002000000d72b30910d8413046ac321b4f4d9c3b08ca6adf07ebc784418e22d"},
       {56, "02000000010000020300000002000000d72b30910d8413046ac321b4f4d9c3b08ca6adf07ebc7844"},
       {104, "02000000ffffffffffffffffffffffff"},
       {136, "010000000200000002"},
       {17150, "01"},
       {17916, "020003"}});
}

Span FrameOf(const Image& wal, size_t frame) {
  return {wal.at(kWalHeadBytes + frame * kFrameBytes), kFrameBytes};
}

// How many frames are good, one after the other.
size_t GoodFrames(const Image& wal, WalSum* sum) {
  WalHead head;
  if (!ReadWalHead({wal.at(0), kWalHeadBytes}, &head) || head.page_size != kPageBytes) return 0;
  *sum = head.sum;
  size_t good = 0;
  WalFrameHead frame;
  while (good < kFrames && ReadWalFrame(FrameOf(wal, good), head, sum, &frame)) good++;
  return good;
}

TEST(SqlitesWalIsRead) {
  const Image wal = GoldenWal(), index = GoldenIndex();
  WalSum sum;
  CHECK(GoodFrames(wal, &sum) == kFrames);
  WalIndexHead published;
  const Span copies[] = {{index.at(0), kWalIndexHeadBytes},
                         {index.at(kWalIndexHeadBytes), kWalIndexHeadBytes}};
  CHECK(ReadWalIndexHead(copies[0], copies[1], &published));
  CHECK(published.change == 2 && published.page_size == kPageBytes && published.pages == 2);
  CHECK(published.end.frame == kFrames && published.end.sum == sum);
  const WalSalt salt{0x6ac321b4, 0xf4d9c3b0};
  CHECK(published.end.salt == salt);
  WalHead head;
  CHECK(ReadWalHead({wal.at(0), kWalHeadBytes}, &head) && head.salt == salt && !head.big_endian);
  const uint32_t pages[] = {1, 2, 2}, commits[] = {0, 2, 2};
  sum = head.sum;
  for (size_t i = 0; i < kFrames; i++) {
    WalFrameHead frame;
    CHECK(ReadWalFrame(FrameOf(wal, i), head, &sum, &frame));
    CHECK(frame.page == pages[i] && frame.pages == commits[i] && frame.salt == salt);
  }
}

TEST(NoByteOfAWalCanChangeUnseen) {
  Image wal = GoldenWal();
  for (size_t at = 0; at < wal.bytes.size(); at++) {
    uint8_t* byte = wal.bytes.data() + at;
    const uint8_t was = *byte;
    *byte = static_cast<uint8_t>(was ^ (1 << at % 8));
    WalSum sum;
    const size_t before = at < kWalHeadBytes ? 0 : (at - kWalHeadBytes) / kFrameBytes;
    CHECK(GoodFrames(wal, &sum) == before);
    *byte = was;
  }
}

TEST(NoByteOfAWalIndexHeadCanChangeUnseen) {
  Image index = GoldenIndex();
  WalIndexHead head;
  WalIndexHeader header;
  const auto is_read = [&] {
    const bool one = ReadWalIndexHead({index.at(0), kWalIndexHeadBytes},
                                      {index.at(kWalIndexHeadBytes), kWalIndexHeadBytes}, &head);
    CHECK(one == ReadWalIndexHeader(index.at(0), &header));
    return one;
  };
  CHECK(is_read());
  for (size_t at = 0; at < 2 * kWalIndexHeadBytes; at++) {
    uint8_t* byte = index.bytes.data() + at;
    *byte ^= 0x10;
    CHECK(!is_read());
    // Nor in both copies alike.
    uint8_t* other = index.bytes.data() + (at + kWalIndexHeadBytes) % (2 * kWalIndexHeadBytes);
    *other ^= 0x10;
    CHECK(!is_read());
    *byte ^= 0x10;
    *other ^= 0x10;
  }
}

TEST(AWalIsWrittenAsSqliteWritesIt) {
  const Image wal = GoldenWal(), index = GoldenIndex();
  WalIndexHeader header{};
  memcpy(header.salts, wal.at(16), sizeof header.salts);
  Bytes made;
  BeginWal(&header, kPageBytes, 0, made.Reserve(kWalHeadBytes));
  made.Advance(kWalHeadBytes);
  CHECK(made.span() == Span({wal.at(0), kWalHeadBytes}));
  Bytes zone;
  memset(zone.Reserve(kWalIndexZoneBytes), 0, kWalIndexZoneBytes);
  const uint32_t pages[] = {1, 2, 2}, commits[] = {0, 2, 2};
  for (uint32_t i = 0; i < kFrames; i++) {
    const Span content{FrameOf(wal, i).data + kWalFrameHeadBytes, kPageBytes};
    uint8_t head[kWalFrameHeadBytes];
    PutWalFrameHead(&header, pages[i], commits[i], content, head);
    CHECK(memcmp(head, FrameOf(wal, i).data, sizeof head) == 0);
    CHECK(AddToWalIndex(zone.data(), i + 1, pages[i]));
  }
  const size_t heads = 136;
  CHECK(memcmp(zone.data() + heads, index.at(heads), kWalIndexZoneBytes - heads) == 0);
  header.frames = kFrames;
  header.pages = 2;
  header.changes = 1;
  SealWalIndexHeader(&header);
  CHECK(memcmp(&header, index.at(0), kWalIndexHeadBytes) == 0);
}

TEST(AScanKeepsTheLastFrameOfEachPage) {
  WalScan scan;
  scan.pages = {3, 1, 3, 9, 2, 1};
  scan.frames = {1, 2, 3, 4, 5, 6};
  scan.least = 2;
  scan.size = 5;
  scan.KeepLast();
  CHECK((scan.pages == std::vector<uint32_t>{1, 2, 3}));
  CHECK((scan.frames == std::vector<uint32_t>{6, 5, 3}));
  scan.AddUnwritten(65536);
  CHECK((scan.pages == std::vector<uint32_t>{1, 2, 3, 4, 5}));
  CHECK((scan.frames == std::vector<uint32_t>{6, 5, 3, 0, 0}));
}

TEST(TheLockPageIsNeverUnwritten) {
  WalScan scan;
  scan.least = 16383;
  scan.size = 16387;
  scan.AddUnwritten(65536);
  CHECK((scan.pages == std::vector<uint32_t>{16384, 16386, 16387}));
}

}  // namespace
}  // namespace mergelite::test
