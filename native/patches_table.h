// The module `mergelite`: `CREATE VIRTUAL TABLE note_patches USING mergelite(note)`.
#pragma once
#include "sqlite_api.h"

namespace mergelite {

struct Connection;
int RegisterPatchesTable(Connection* connection, bool there);

}  // namespace mergelite
