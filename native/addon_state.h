// The part of the Node door that trims the log and moves state between files.
#pragma once
#include <node_api.h>

namespace mergelite {

void AddStateFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
