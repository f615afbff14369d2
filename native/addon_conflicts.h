// The part of the Node door that tells of conflicts and settles them.
#pragma once
#include <node_api.h>

#include "merge.h"

namespace mergelite {

napi_value PackStats(napi_env env, Connection* connection, const MergeStats& stats);
void AddConflictFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
