// Files that are copies of others: written and checked on other threads.
#pragma once
#include <node_api.h>

namespace mergelite {

void AddCopyFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
