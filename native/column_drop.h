// A column that is about to be dropped: what it holds waits, like anything a peer's schema has no
// place for, and is there when the column comes back. Peers that keep it may write it meanwhile.
#pragma once
#include "connection.h"

namespace mergelite {

// Before the statement that drops it, in its transaction. A table that is not replicated, or a
// column that it does not have, is nobody's business here.
int ParkColumn(Connection* connection, const char* table, const char* column);
}  // namespace mergelite
