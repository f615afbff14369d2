// The layout of what `mergelite_id()` gives: seconds, a count within the second, and the lane of
// the connection, from the highest bits to the lowest.
#pragma once

namespace mergelite {

constexpr int kIdCountBits = 6, kIdLaneBits = 17;

}  // namespace mergelite
