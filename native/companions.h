// The classic way to ask for replication: an ordinary table `<table>_patches` that the
// application's own migrations made.
#pragma once
#include "sqlite_api.h"

namespace mergelite {

struct Connection;

// Replicates the tables that have one, and puts the virtual table in its place. Rows of the table
// carry the newest `_patchedAt` that it has for them. In the caller's transaction.
int TakeDeclared(Connection* connection);
// The same in a transaction of its own, if there is anything to do.
int TakeDeclaredNow(Connection* connection);

}  // namespace mergelite
