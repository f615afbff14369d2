#include "ltx_pages.h"

#include "crc64.h"

namespace mergelite {
namespace {

void Big32(uint8_t* to, uint32_t value) {
  for (int i = 0; i < 4; i++) to[i] = static_cast<uint8_t>(value >> (24 - 8 * i));
}

uint32_t Big32(const uint8_t* at) {
  uint32_t value = 0;
  for (int i = 0; i < 4; i++) value = value << 8 | at[i];
  return value;
}

Span PageAt(const LtxPages& pages, size_t index) {
  return {pages.data + index * pages.page_size, pages.page_size};
}

}  // namespace

size_t EncodeLtxPages(const LtxPages& pages, uint8_t* out, uint64_t* crc) {
  uint8_t* to = out;
  for (size_t i = 0; i < pages.count; i++) {
    const Span page = PageAt(pages, i);
    const size_t block = Lz4Compress(page, to + kLtxHeadBytes);
    Big32(to, pages.numbers[i]);
    to[4] = 0;
    to[5] = kLtxFlagSized;
    Big32(to + 6, static_cast<uint32_t>(block));
    *crc = Crc64(*crc, {to, kLtxHeadBytes});
    *crc = Crc64(*crc, page);
    pages.sizes[i] = static_cast<uint32_t>(kLtxHeadBytes + block);
    to += kLtxHeadBytes + block;
  }
  return static_cast<size_t>(to - out);
}

LtxDecoded DecodeLtxPages(Span in, const LtxPages& pages, uint64_t* crc) {
  LtxDecoded done;
  Reader reader(in);
  const auto fail = [&](const char* what) {
    done.wrong = what;
    return done;
  };
  while (reader.left() >= kLtxEndBytes) {
    const uint8_t* head = reader.at();
    const uint32_t number = Big32(head);
    const uint16_t flags = static_cast<uint16_t>(head[4] << 8 | head[5]);
    if (number == 0) {
      if (flags != 0) return fail("a page has the number 0");
      *crc = Crc64(*crc, {head, kLtxEndBytes});
      done.consumed += kLtxEndBytes;
      done.ended = true;
      return done;
    }
    if (flags == 0) return fail("its pages are LZ4 frames, as before LTX had sized blocks");
    if (flags != kLtxFlagSized) return fail("a page has unknown flags");
    if (done.count == pages.count || reader.left() < kLtxHeadBytes) return done;
    const size_t size = Big32(head + 6);
    if (size > Lz4Bound(pages.page_size)) return fail("a page block is longer than a page can be");
    if (reader.left() < kLtxHeadBytes + size) return done;
    reader.Take(kLtxHeadBytes);
    uint8_t* page = pages.data + done.count * pages.page_size;
    if (!Lz4Decompress(reader.Take(size), page, pages.page_size)) {
      return fail("a page does not decompress");
    }
    *crc = Crc64(*crc, {head, kLtxHeadBytes});
    *crc = Crc64(*crc, {page, pages.page_size});
    pages.numbers[done.count] = number;
    pages.sizes[done.count] = static_cast<uint32_t>(kLtxHeadBytes + size);
    done.count++;
    done.consumed += kLtxHeadBytes + size;
  }
  return done;
}

void ChecksumLtxPages(const LtxPages& pages, uint64_t* checksums) {
  for (size_t i = 0; i < pages.count; i++) {
    uint8_t number[4];
    Big32(number, pages.numbers[i]);
    checksums[i] = Crc64(Crc64(0, {number, sizeof number}), PageAt(pages, i)) | uint64_t{1} << 63;
  }
}

}  // namespace mergelite
