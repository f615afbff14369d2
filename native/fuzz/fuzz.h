// What the fuzz targets share.
#pragma once
#include <cstdio>
#include <cstdlib>

#include "../test/exact.h"

namespace mergelite::fuzz {

// Ends the run, so that libFuzzer keeps the input: for results that are wrong without being a
// memory error.
inline void Require(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "violated: %s\n", what);
  abort();
}

using test::Exact;

}  // namespace mergelite::fuzz
