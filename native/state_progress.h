// What the receiver of state remembers in the file, and what it claims in the end.
#pragma once
#include "state.h"

namespace mergelite {

int SaveStateProgress(Connection* connection, const StateProgress& progress);
int DropStateProgress(Connection* connection);

// Lowers `common` to what both have; takes `vector` whole when nothing was known.
void IntersectVector(std::vector<StateOrigin>* common, const std::vector<StateOrigin>& vector);

// Everything up to this vector is in the tables and their clocks now, though not in the log.
int ClaimVector(Connection* connection, const std::vector<StateOrigin>& vector);

}  // namespace mergelite
