// Pages as they are in an LTX file (docs/format.md): a head of ten bytes, then the page as an LZ4
// block. Many at a time, and all memory is the caller's.
#pragma once
#include "bytes.h"
#include "lz4.h"

namespace mergelite {

constexpr size_t kLtxHeadBytes = 10;
// What ends the page blocks is six bytes of zero.
constexpr size_t kLtxEndBytes = 6;
constexpr uint16_t kLtxFlagSized = 1;

constexpr bool IsPageSize(uint64_t size) {
  return size >= 512 && size <= kLz4InputMax && (size & (size - 1)) == 0;
}

// Pages in the form in which JavaScript has them: numbers beside contents.
struct LtxPages {
  size_t page_size = 0;
  size_t count = 0;             // room for as many pages, or as many there are
  uint32_t* numbers = nullptr;  // of the pages
  uint8_t* data = nullptr;      // count * page_size bytes
};

// For each page the checksum of its number and content that the checksum of a database is made of.
void ChecksumLtxPages(const LtxPages& pages, uint64_t* checksums);
// Exclusive or of these, of a part of a database file that begins with page `first`; the lock page
// does not count, nor does what is less than a page at the end.
uint64_t SumPages(Span part, size_t page_size, uint32_t first);

// The page that has SQLite's lock bytes, and nothing else.
constexpr uint32_t LockPage(size_t page_size) {
  return static_cast<uint32_t>((uint64_t{1} << 30) / page_size + 1);
}

}  // namespace mergelite
