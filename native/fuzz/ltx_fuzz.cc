// Page blocks of LTX files three times over: bytes as a damaged object has them, the same bytes as
// one LZ4 block, and as pages that have to come back from the file that is made of them.
#include <vector>

#include "../ltx_stream.h"
#include "fuzz.h"

namespace mergelite::fuzz {
namespace {

// Arrays of exactly the size that the decoder is told.
struct Room {
  Room(size_t page_size, size_t count) : numbers(count), data(page_size * count) {
    pages = {page_size, count, numbers.data(), data.data()};
  }
  std::vector<uint32_t> numbers;
  std::vector<uint8_t> data;
  LtxPages pages;
};

void ForeignBlocks(Span bytes, size_t page_size) {
  Room room(page_size, 3);
  LtxStream stream(page_size, 1000, bytes.size % 2 == 0, {});
  const LtxDecoded decoded = stream.Decode(bytes, room.pages);
  Require(decoded.consumed <= bytes.size && decoded.count <= 3, "no more than there is");
  Require(!(decoded.ended && !stream.wrong().empty()), "what is wrong does not end well");
  const Span rest{bytes.data + decoded.consumed, bytes.size - decoded.consumed};
  const size_t needed = stream.BlockBytes(rest);
  Require(needed <= kLtxHeadBytes + Lz4Bound(page_size), "a block is no longer than a page can be");
  if (decoded.ended) (void)stream.Check(rest);
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
  const Span head{bytes.data, bytes.size < 100 ? bytes.size : 100};
  LtxStream written(page_size, 0xffffffff, false, head), read(page_size, 0xffffffff, false, head);
  const size_t size = written.Encode(room.pages, file.data());
  Require(size <= file.size(), "blocks have their bound");
  Exact exact({file.data(), size});
  Room back(page_size, 2);
  const LtxDecoded decoded = read.Decode(exact.span(), back.pages);
  Require(read.wrong().empty() && decoded.count == 2 && decoded.consumed == size,
          "what was written is read");
  Require(room.data == back.data && room.numbers == back.numbers, "and is the same");
  Bytes tail;
  written.Finish(&tail);
  Require(read.Decode(tail.span(), back.pages).ended, "the blocks end");
  Require(read.tail_bytes() == tail.size() - kLtxEndBytes, "what follows has its size");
  Require(read.Check({tail.data() + kLtxEndBytes, tail.size() - kLtxEndBytes}), "and is right");
  for (size_t cut = 1; cut <= kLtxHeadBytes && cut < size; cut++) {
    Exact part({file.data(), size - cut});
    LtxStream stream(page_size, 0xffffffff, false, head);
    const LtxDecoded some = stream.Decode(part.span(), back.pages);
    Require(stream.wrong().empty() && some.count == 1,
            "a block that is cut off waits for its rest");
    const Span rest{part.span().data + some.consumed, part.span().size - some.consumed};
    const size_t needed = stream.BlockBytes(rest);
    Require(needed > rest.size && needed <= rest.size + cut, "and tells of how much");
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
