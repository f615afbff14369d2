// Locks among processes.
#pragma once
#include <node_api.h>

namespace mergelite {

void AddLockFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
