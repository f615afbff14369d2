// Snapshots and measurements of the file, and what metrics look up in the log.
#pragma once
#include <node_api.h>

namespace mergelite {

void AddFileJobFunctions(napi_env env, napi_value exports);

}  // namespace mergelite
