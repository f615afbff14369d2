// The part of the Node door that compares tables between peers.
#pragma once
#include <node_api.h>

namespace mergelite {

void AddVerifyFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
