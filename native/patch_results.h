// Values of patches as results of SQL.
#pragma once
#include "catalog.h"
#include "codec.h"
#include "sqlite_api.h"

namespace mergelite {

void ResultValue(const Api* api, sqlite3_context* context, const Value& value);
// What a patch says of a column of `table`, which may be null, under any name it had.
void ResultColumn(const Api* api, sqlite3_context* context, const Patch& patch, const Table* table,
                  const char* name);
// The columns a patch set, as a JSON array.
void ResultColumnNames(const Api* api, sqlite3_context* context, const Patch& patch);

}  // namespace mergelite
