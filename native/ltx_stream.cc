#include "ltx_stream.h"

#include "crc64.h"

namespace mergelite {
namespace {

constexpr uint64_t kChecksumBit = uint64_t{1} << 63;

void PutBig(uint8_t* to, uint64_t value, size_t size) {
  for (size_t i = 0; i < size; i++) to[i] = static_cast<uint8_t>(value >> (8 * (size - 1 - i)));
}

uint64_t Big(const uint8_t* at, size_t size) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; i++) value = value << 8 | at[i];
  return value;
}

}  // namespace

bool LtxOrder::Take(uint32_t number, Text* wrong) {
  const uint64_t page = number;
  if (number <= last_) {
    *wrong << "page " << page << " follows page " << uint64_t{last_};
    return false;
  }
  if (number > commit_) {
    *wrong << "page " << page << " is beyond the end, page " << uint64_t{commit_};
    return false;
  }
  if (number == lock_page_) {
    *wrong << "it has the lock page, " << page;
    return false;
  }
  if (is_snapshot_ && number != next()) return Missing(wrong);
  last_ = number;
  return true;
}

bool LtxOrder::End(Text* wrong) const {
  const uint32_t last = commit_ == lock_page_ ? commit_ - 1 : commit_;
  return !is_snapshot_ || last_ == last || Missing(wrong);
}

bool LtxOrder::Missing(Text* wrong) const {
  *wrong << "it is a snapshot and page " << uint64_t{next()} << " is missing";
  return false;
}

LtxStream::LtxStream(size_t page_size, uint32_t commit, bool is_snapshot, Span head)
    : page_size_(page_size),
      order_(page_size, commit, is_snapshot),
      offset_(head.size),
      crc_(Crc64(0, head)) {}

bool LtxStream::Fail(const char* what) {
  if (wrong_.empty()) wrong_ << what;
  return false;
}

void LtxStream::Note(uint32_t number, size_t block) {
  index_.Varint(number);
  index_.Varint(offset_);
  index_.Varint(block);
  offset_ += block;
}

size_t LtxStream::Encode(const LtxPages& pages, uint8_t* out) {
  uint8_t* to = out;
  for (size_t i = 0; i < pages.count; i++) {
    if (!order_.Take(pages.numbers[i], &wrong_)) return 0;
    const Span page{pages.data + i * page_size_, page_size_};
    const size_t block = Lz4Compress(page, to + kLtxHeadBytes);
    PutBig(to, pages.numbers[i], 4);
    PutBig(to + 4, kLtxFlagSized, 2);
    PutBig(to + 6, block, 4);
    crc_ = Crc64(crc_, {to, kLtxHeadBytes});
    crc_ = Crc64(crc_, page);
    Note(pages.numbers[i], kLtxHeadBytes + block);
    to += kLtxHeadBytes + block;
  }
  return static_cast<size_t>(to - out);
}

LtxDecoded LtxStream::Decode(Span in, const LtxPages& pages) {
  LtxDecoded done;
  Reader reader(in);
  const auto fail = [&](const char* what) {
    Fail(what);
    return done;
  };
  while (reader.left() >= kLtxEndBytes) {
    const uint8_t* head = reader.at();
    const auto number = static_cast<uint32_t>(Big(head, 4));
    const uint64_t flags = Big(head + 4, 2);
    if (number == 0) {
      if (flags != 0) return fail("a page has the number 0");
      if (!order_.End(&wrong_)) return done;
      crc_ = Crc64(crc_, {head, kLtxEndBytes});
      done.consumed += kLtxEndBytes;
      done.ended = true;
      return done;
    }
    if (flags == 0) return fail("its pages are LZ4 frames, as before LTX had sized blocks");
    if (flags != kLtxFlagSized) return fail("a page has unknown flags");
    if (done.count == pages.count || reader.left() < kLtxHeadBytes) return done;
    const size_t size = Big(head + 6, 4);
    if (size > Lz4Bound(page_size_)) return fail("a page block is longer than a page can be");
    if (reader.left() < kLtxHeadBytes + size) return done;
    if (!order_.Take(number, &wrong_)) return done;
    reader.Take(kLtxHeadBytes);
    uint8_t* page = pages.data + done.count * page_size_;
    if (!Lz4Decompress(reader.Take(size), page, page_size_)) {
      return fail("a page does not decompress");
    }
    crc_ = Crc64(crc_, {head, kLtxHeadBytes});
    crc_ = Crc64(crc_, {page, page_size_});
    pages.numbers[done.count++] = number;
    Note(number, kLtxHeadBytes + size);
    done.consumed += kLtxHeadBytes + size;
  }
  return done;
}

size_t LtxStream::BlockBytes(Span begin) const {
  if (begin.size < kLtxEndBytes || Big(begin.data, 4) == 0) return kLtxEndBytes;
  if (begin.size < kLtxHeadBytes) return kLtxHeadBytes;
  const size_t size = Big(begin.data + 6, 4);
  // One that is too long is refused for its head.
  return kLtxHeadBytes + (size > Lz4Bound(page_size_) ? 0 : size);
}

void LtxStream::EndIndex() {
  index_.Varint(0);
  PutBig(index_.Reserve(8), index_.size(), 8);
  index_.Advance(8);
}

void LtxStream::Finish(Bytes* out) {
  if (!wrong_.empty() || !order_.End(&wrong_)) return;
  EndIndex();
  uint8_t* const begin = out->Reserve(kLtxEndBytes + index_.size() + 16);
  memset(begin, 0, kLtxEndBytes);
  memcpy(begin + kLtxEndBytes, index_.data(), index_.size());
  uint8_t* const database = begin + kLtxEndBytes + index_.size();
  memset(database, 0, 8);
  const size_t size = static_cast<size_t>(database + 8 - begin);
  PutBig(database + 8, Crc64(crc_, {begin, size}) | kChecksumBit, 8);
  out->Advance(size + 8);
}

// An index has one form, so it is right when it is what would be written.
bool LtxStream::Check(Span tail) {
  if (tail.size != tail_bytes()) return Fail("it is cut off behind its pages");
  const size_t summed = tail.size - 8;
  const uint64_t crc = Crc64(crc_, {tail.data, summed}) | kChecksumBit;
  if (crc != Big(tail.data + summed, 8)) return Fail("its checksum does not match");
  EndIndex();
  if (!(Span{tail.data, index_.size()} == index_.span())) {
    return Fail("its page index does not match its pages");
  }
  return true;
}

}  // namespace mergelite
