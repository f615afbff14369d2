// CRC-64 of ISO 3309 (polynomial x^64 + x^4 + x^3 + x + 1), reflected: 64 bytes a step where
// the processor multiplies without carry, elsewhere eight.
#pragma once
#include "bytes.h"

namespace mergelite {

// Goes on from the checksum of what came before; 0 for the beginning.
uint64_t Crc64(uint64_t crc, Span span);

}  // namespace mergelite
