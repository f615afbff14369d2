#include "ltx_pages.h"

#include "crc64.h"

namespace mergelite {
namespace {

uint64_t ChecksumPage(uint32_t page, Span content) {
  uint8_t number[4];
  for (int i = 0; i < 4; i++) number[i] = static_cast<uint8_t>(page >> (24 - 8 * i));
  return Crc64(Crc64(0, {number, sizeof number}), content) | uint64_t{1} << 63;
}

}  // namespace

void ChecksumLtxPages(const LtxPages& pages, uint64_t* checksums) {
  for (size_t i = 0; i < pages.count; i++) {
    const Span content{pages.data + i * pages.page_size, pages.page_size};
    checksums[i] = ChecksumPage(pages.numbers[i], content);
  }
}

uint64_t SumPages(Span part, size_t page_size, uint32_t first) {
  uint64_t sum = 0;
  for (size_t i = 0; i < part.size / page_size; i++) {
    const uint32_t page = first + static_cast<uint32_t>(i);
    if (page == LockPage(page_size)) continue;
    sum ^= ChecksumPage(page, {part.data + i * page_size, page_size});
  }
  return sum;
}

}  // namespace mergelite
