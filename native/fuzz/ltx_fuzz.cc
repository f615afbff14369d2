// Page blocks of LTX files three times over: bytes as a damaged object has them, the same bytes as
// one LZ4 block, and as pages that have to come back from the file that is made of them.
#include <vector>

#include "../ltx_pages.h"
#include "fuzz.h"

namespace mergelite::fuzz {
namespace {

// Arrays of exactly the size that the decoder is told.
struct Room {
  Room(size_t page_size, size_t count) : numbers(count), sizes(count), data(page_size * count) {
    pages = {page_size, count, numbers.data(), sizes.data(), data.data()};
  }
  std::vector<uint32_t> numbers, sizes;
  std::vector<uint8_t> data;
  LtxPages pages;
};

void ForeignBlocks(Span bytes, size_t page_size) {
  Room room(page_size, 3);
  uint64_t crc = 0;
  const LtxDecoded decoded = DecodeLtxPages(bytes, room.pages, &crc);
  Require(decoded.consumed <= bytes.size && decoded.count <= 3, "no more than there is");
  Require(!(decoded.ended && decoded.wrong != nullptr), "what is wrong does not end well");
}

void ForeignBlock(Span bytes) {
  for (const size_t size : {size_t{0}, size_t{1}, bytes.size, size_t{4096}}) {
    std::vector<uint8_t> out(size);
    (void)Lz4Decompress(bytes, out.data(), size);
  }
}

void RoundTrip(Span bytes, size_t page_size) {
  Room room(page_size, 2);
  for (size_t i = 0; i < room.data.size() && bytes.size > 0; i++) {
    room.data[i] = bytes.data[i % bytes.size];
  }
  room.numbers = {1, 0xffffffff};
  std::vector<uint8_t> file(2 * (kLtxHeadBytes + Lz4Bound(page_size)));
  uint64_t written = 7, read = 7;
  const size_t size = EncodeLtxPages(room.pages, file.data(), &written);
  Require(size <= file.size(), "blocks have their bound");
  Exact exact({file.data(), size});
  Room back(page_size, 2);
  const LtxDecoded decoded = DecodeLtxPages(exact.span(), back.pages, &read);
  Require(decoded.wrong == nullptr && decoded.count == 2 && decoded.consumed == size,
          "what was written is read");
  Require(room.data == back.data && room.numbers == back.numbers && written == read,
          "and is the same");
  for (size_t cut = 1; cut <= kLtxHeadBytes && cut < size; cut++) {
    Exact part({file.data(), size - cut});
    uint64_t crc = 7;
    const LtxDecoded some = DecodeLtxPages(part.span(), back.pages, &crc);
    Require(some.wrong == nullptr && some.count == 1, "a block that is cut off waits for its rest");
  }
}

}  // namespace
}  // namespace mergelite::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mergelite;
  if (size == 0) return 0;
  const size_t page_size = size_t{512} << (data[0] % 8);
  fuzz::Exact copy({data + 1, size - 1});
  fuzz::ForeignBlocks(copy.span(), page_size);
  fuzz::ForeignBlock(copy.span());
  fuzz::RoundTrip(copy.span(), size_t{512} << (data[0] % 4));
  return 0;
}
