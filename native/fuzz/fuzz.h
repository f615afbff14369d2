// What the fuzz targets share.
#pragma once
#include <cstdio>
#include <cstdlib>

#include "../bytes.h"

namespace mergelite::fuzz {

// Ends the run, so that libFuzzer keeps the input: for results that are wrong without being a
// memory error.
inline void Require(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "violated: %s\n", what);
  abort();
}

// A copy in a block of exactly its size: AddressSanitizer sees one byte beyond it.
class Exact {
 public:
  explicit Exact(Span span) : size_(span.size), data_(static_cast<uint8_t*>(malloc(span.size))) {
    if (size_ > 0) memcpy(data_, span.data, size_);
  }
  Exact(const Exact&) = delete;
  Exact& operator=(const Exact&) = delete;
  ~Exact() { free(data_); }

  Span span() const { return {data_, size_}; }

 private:
  size_t size_;
  uint8_t* data_;
};

}  // namespace mergelite::fuzz
