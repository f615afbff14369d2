// The part of the Node door that floors, tombstones and readmission go through.
#pragma once
#include <node_api.h>

namespace mergelite {

void AddFloorFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
