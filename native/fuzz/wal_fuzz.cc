// WALs three times over: bytes as a damaged one has them, one that is made of the bytes and has to
// be read back, and scans against the plainest way to do them.
#include <map>
#include <vector>

#include "../wal_format.h"
#include "../wal_index.h"
#include "../wal_scan.h"
#include "fuzz.h"

namespace mergelite::fuzz {
namespace {

// As far as the frames are good; where the head says nothing they are of `page_size`.
void ForeignWal(Span bytes, size_t page_size) {
  WalHead head;
  if (ReadWalHead(bytes, &head)) {
    Require(head.page_size >= 512 && head.page_size <= 65536, "a page has its size");
  } else {
    head.page_size = static_cast<uint32_t>(page_size);
  }
  WalSum sum = head.sum;
  for (size_t at = 0; at < bytes.size; at += kWalFrameHeadBytes) {
    WalFrameHead frame;
    if (!ReadWalFrame({bytes.data + at, bytes.size - at}, head, &sum, &frame)) continue;
    Require(frame.page != 0 && frame.salt == head.salt, "a frame is of its WAL");
  }
}

void ForeignIndexHead(Span bytes) {
  const size_t first = bytes.size < kWalIndexHeadBytes ? bytes.size : kWalIndexHeadBytes;
  WalIndexHead head;
  (void)ReadWalIndexHead({bytes.data, first}, {bytes.data + first, bytes.size - first}, &head);
  (void)ReadWalIndexHead({bytes.data, first}, {bytes.data, first}, &head);
  if (bytes.size < 2 * kWalIndexHeadBytes) return;
  WalIndexHeader header;
  const bool one = ReadWalIndexHeader(bytes.data, &header);
  const Span other{bytes.data + first, kWalIndexHeadBytes};
  const bool two = ReadWalIndexHead({bytes.data, first}, other, &head);
  Require(one || !two, "what one part reads the other does");
}

struct Commit {
  uint32_t page, size;
};

// Of the input: pages 1 to 256, and a commit every few frames.
std::vector<Commit> Frames(Span bytes) {
  std::vector<Commit> frames;
  for (size_t i = 0; i + 1 < bytes.size && frames.size() < 64; i += 2) {
    const uint32_t size = bytes.data[i + 1];
    frames.push_back({bytes.data[i] + 1u, size < 192 ? 0 : size - 191});
  }
  return frames;
}

void RoundTrip(Span bytes, size_t page_size, bool big_endian) {
  WalIndexHeader header{};
  for (size_t i = 0; i < sizeof header.salts && i < bytes.size; i++)
    header.salts[i] = bytes.data[i];
  uint8_t begin[kWalHeadBytes];
  BeginWal(&header, page_size, 7, begin);
  WalHead head;
  Require(ReadWalHead(Exact({begin, sizeof begin}).span(), &head), "the head is read");
  Require(head.page_size == page_size && head.big_endian == (header.big_endian != 0),
          "and says what it should");
  // Its words may be of either order: SQLite reads both.
  header.big_endian = big_endian ? 1 : 0;
  head.big_endian = big_endian;
  WalSum sum = head.sum;
  Bytes frame;
  for (const Commit& commit : Frames(bytes)) {
    frame.Clear();
    memset(frame.Reserve(kWalFrameHeadBytes + page_size), static_cast<int>(commit.page), page_size);
    frame.Advance(kWalFrameHeadBytes + page_size);
    if (bytes.size <= page_size) memcpy(frame.data() + kWalFrameHeadBytes, bytes.data, bytes.size);
    const Span content{frame.data() + kWalFrameHeadBytes, page_size};
    PutWalFrameHead(&header, commit.page, commit.size, content, frame.data());
    WalFrameHead read;
    Require(ReadWalFrame(Exact(frame.span()).span(), head, &sum, &read), "a frame is read");
    Require(read.page == commit.page && read.pages == commit.size, "and says what it should");
  }
}

void Scans(Span bytes, uint32_t before) {
  WalScan scan;
  scan.least = before;
  std::map<uint32_t, uint32_t> last;
  uint32_t least = before;
  for (const Commit& frame : Frames(bytes)) {
    scan.pages.push_back(frame.page);
    scan.frames.push_back(static_cast<uint32_t>(scan.pages.size()));
    last[frame.page] = scan.frames.back();
    if (frame.size == 0) continue;
    scan.AddCommit(frame.size);
    scan.size = frame.size;
    if (frame.size < least) least = frame.size;
  }
  scan.KeepLast();
  scan.AddUnwritten(512);
  std::map<uint32_t, uint32_t> expected;
  for (const auto& [page, frame] : last) {
    if (page <= scan.size) expected[page] = frame;
  }
  for (uint32_t page = least + 1; page <= scan.size; page++) expected.emplace(page, 0);
  Require(scan.pages.size() == expected.size() && scan.frames.size() == expected.size(),
          "each page once");
  size_t i = 0;
  for (const auto& [page, frame] : expected) {
    Require(scan.pages[i] == page && scan.frames[i] == frame, "with its last frame");
    i++;
  }
}

}  // namespace
}  // namespace mergelite::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mergelite;
  if (size < 2) return 0;
  const size_t page_size = size_t{512} << (data[0] % 8);
  fuzz::Exact copy({data + 2, size - 2});
  fuzz::ForeignWal(copy.span(), page_size);
  fuzz::ForeignIndexHead(copy.span());
  fuzz::RoundTrip(copy.span(), page_size, data[0] >= 128);
  fuzz::Scans(copy.span(), data[1]);
  return 0;
}
