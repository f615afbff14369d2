// The page blocks of an LTX file (docs/format.md): a head of ten bytes, then the page as an LZ4
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
  uint32_t* sizes = nullptr;    // of their blocks in the file, heads included
  uint8_t* data = nullptr;      // count * page_size bytes
};

// `out` has room for count * (kLtxHeadBytes + Lz4Bound(page_size)). Returns the bytes written.
// `crc` goes on over heads and contents.
size_t EncodeLtxPages(const LtxPages& pages, uint8_t* out, uint64_t* crc);

struct LtxDecoded {
  size_t consumed = 0;
  size_t count = 0;
  bool ended = false;  // the end of the blocks has been read, too
  const char* wrong = nullptr;
};

// Decodes whole blocks, as many as there are and there is room for. What is cut off at the end of
// `in` is left for the next call.
LtxDecoded DecodeLtxPages(Span in, const LtxPages& pages, uint64_t* crc);

// For each page the checksum of its number and content that the checksum of a database is made of.
void ChecksumLtxPages(const LtxPages& pages, uint64_t* checksums);

}  // namespace mergelite
