// Values of patches as results of SQL.
#pragma once
#include "codec.h"
#include "sqlite_api.h"

namespace mergelite {

void ResultValue(const Api* api, sqlite3_context* context, const Value& value);
// The columns a patch set, as a JSON array.
void ResultColumnNames(const Api* api, sqlite3_context* context, const Patch& patch);

}  // namespace mergelite
