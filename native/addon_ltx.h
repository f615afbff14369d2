// The part of the Node door that packs and unpacks the pages of LTX files, on libuv's threads.
#pragma once
#include <node_api.h>

namespace mergelite {

void AddLtxFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
