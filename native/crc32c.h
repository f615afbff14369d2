// CRC-32C (Castagnoli, RFC 3720 appendix B.4), eight bytes a step.
#pragma once
#include "bytes.h"

namespace mergelite {

uint32_t Crc32c(Span span);

}  // namespace mergelite
