// What tests and fuzz targets read from.
#pragma once
#include <cstdlib>

#include "../bytes.h"

namespace mergelite::test {

// A copy in a block of exactly its size: AddressSanitizer sees one byte beyond it.
class Exact {
 public:
  explicit Exact(Span span) : Exact(span, span.size) {}
  Exact(Span span, size_t size) : size_(size), data_(static_cast<uint8_t*>(malloc(size))) {
    if (size > 0) memcpy(data_, span.data, size);
  }
  Exact(const Exact&) = delete;
  Exact& operator=(const Exact&) = delete;
  ~Exact() { free(data_); }

  Span span() const { return {data_, size_}; }

 private:
  size_t size_;
  uint8_t* data_;
};

}  // namespace mergelite::test
