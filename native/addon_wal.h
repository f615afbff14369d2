// Shipping: the WAL read on threads of the pool, and a bell for commits.
#pragma once
#include <node_api.h>

namespace mergelite {

void AddWalFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
