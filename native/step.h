// A step of a migration: a transaction in which companions are ordinary tables.
#pragma once
#include "sqlite_api.h"

namespace mergelite {

struct Connection;

// Begins the transaction. Until it ends, what a step may not do to a replicated table fails.
int BeginStep(Connection* connection);
// Makes of every table what it is now, and commits.
int CommitStep(Connection* connection);
// Undoes everything, memory included.
void AbandonStep(Connection* connection);

}  // namespace mergelite
