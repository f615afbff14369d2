// The part of the Node door that takes new peer ids.
#pragma once
#include <node_api.h>

namespace mergelite {

void AddIdentityFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
