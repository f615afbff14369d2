// Pages of an LTX file on their way into a database file that nobody has open.
#pragma once
#include <vector>

#include "ltx_stream.h"

namespace mergelite {

class LtxFile {
 public:
  // As LtxStream has it.
  LtxFile(size_t page_size, uint32_t commit, bool is_snapshot, Span head);

  LtxStream* stream() { return &stream_; }

  struct Written {
    size_t consumed = 0;
    bool ended = false;
    int error = 0;  // the system's number, if writing failed
  };
  // Decodes the next bytes of the file, up to the end of its blocks, and writes their pages in
  // their places, those that follow each other at once. `file` is a descriptor.
  Written WriteBlocks(Span in, int file);

 private:
  size_t CompleteBlock(Span in);
  LtxDecoded DecodeSome(Span in);
  int WritePages(size_t count, int file) const;

  LtxStream stream_;
  Bytes begun_;  // a block, as far as it has come
  Bytes data_;
  std::vector<uint32_t> numbers_;
};

}  // namespace mergelite
