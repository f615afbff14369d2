// Another peer id for a file, and what was written under the former one.
#pragma once
#include <cstdint>

namespace mergelite {

struct Connection;

int RenewIdentity(Connection* connection);
// The same, when the changesets of the present id above `after` are not those that others have
// under these numbers: they become the first ones of the new id, as a whole number of transactions.
int ReissueChangesets(Connection* connection, uint64_t after);

}  // namespace mergelite
