// An LTX file as a whole (docs/format.md), written or read some pages at a time: the order of its
// pages, the index that stands behind them, and the checksum over everything.
#pragma once
#include "ltx_pages.h"
#include "text.h"

namespace mergelite {

// Holds a file to its order: rising page numbers, and every page where it is a snapshot.
class LtxOrder {
 public:
  // `commit`: the size of the database behind the file, in pages.
  LtxOrder(size_t page_size, uint32_t commit, bool is_snapshot)
      : commit_(commit), lock_page_(LockPage(page_size)), is_snapshot_(is_snapshot) {}

  // False with what is wrong.
  bool Take(uint32_t number, Text* wrong);
  bool End(Text* wrong) const;

 private:
  uint32_t next() const { return last_ + 1 == lock_page_ ? last_ + 2 : last_ + 1; }
  bool Missing(Text* wrong) const;

  uint32_t commit_, lock_page_, last_ = 0;
  bool is_snapshot_;
};

struct LtxDecoded {
  size_t consumed = 0;
  size_t count = 0;
  bool ended = false;  // the end of the blocks has been read, too
};

class LtxStream {
 public:
  // Goes on behind the header, `head`.
  LtxStream(size_t page_size, uint32_t commit, bool is_snapshot, Span head);

  size_t page_size() const { return page_size_; }
  // Of the first call that failed: then nothing that was read is right, and nothing more is to be
  // written or read.
  const Text& wrong() const { return wrong_; }

  // `out` has room for count * (kLtxHeadBytes + Lz4Bound(page_size)). Returns the bytes written.
  size_t Encode(const LtxPages& pages, uint8_t* out);
  // Decodes whole blocks, as many as there are and there is room for. What is cut off at the end of
  // `in` is left for the next call.
  LtxDecoded Decode(Span in, const LtxPages& pages);
  // How many bytes the block has that begins like this, or that its beginning needs to tell.
  size_t BlockBytes(Span begin) const;

  // All that stands behind the pages that were encoded; empty when they make no file.
  void Finish(Bytes* out);
  // The same of a file that is read, whose blocks have ended: its size, and whether it is right.
  size_t tail_bytes() const { return index_.size() + kTailBytes; }
  bool Check(Span tail);

 private:
  // Behind the index: its size, the checksum of the database, and that of the file.
  static constexpr size_t kTailBytes = 1 + 8 + 8 + 8;

  bool Fail(const char* what);
  void Note(uint32_t number, size_t block);
  void EndIndex();

  size_t page_size_;
  LtxOrder order_;
  Bytes index_;
  uint64_t offset_;  // of the next block, from the beginning of the file
  uint64_t crc_;
  Text wrong_;
};

}  // namespace mergelite
