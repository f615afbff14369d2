// The part of the Node door that changes schemas.
#pragma once
#include <node_api.h>

namespace mergelite {

void AddSchemaFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
