// The part of the Node door that tells of conflicts and settles them.
#pragma once
#include <node_api.h>

#include "addon_values.h"
#include "merge.h"

namespace mergelite {

// Adds to a result what conflicts the merge has brought and settled, and when to go on.
napi_value WithConflicts(napi_env env, Connection* connection, const MergeStats& stats,
                         Object&& result);
napi_value PackStats(napi_env env, Connection* connection, const MergeStats& stats);
void AddConflictFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
