// The LZ4 block format, for database pages: at most 64 KiB, so that every position in the input,
// and every distance, fits into 16 bits.
#pragma once
#include "bytes.h"

namespace mergelite {

constexpr size_t kLz4InputMax = 65536;

// Bytes that a block of `size` bytes takes at most: what does not compress is one run of literals.
constexpr size_t Lz4Bound(size_t size) { return size + size / 255 + 16; }

// Writes a block of at most Lz4Bound(input.size) bytes, and returns its size.
size_t Lz4Compress(Span input, uint8_t* out);

// Whether `block` is well-formed and holds exactly `size` bytes, which are then in `out`. Never
// reads or writes beyond either.
bool Lz4Decompress(Span block, uint8_t* out, size_t size);

}  // namespace mergelite
