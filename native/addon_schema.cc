#include "addon_schema.h"

#include "addon_values.h"
#include "companions.h"
#include "step.h"

namespace mergelite {
namespace {

napi_value TakeCompanions(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  call.Failed(connection, TakeDeclaredNow(connection));
  return Undefined(env);
}

napi_value Begin(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  connection->declared_renames.clear();
  Text parts[3];
  uint32_t count = 0;
  napi_get_array_length(env, call.at(1), &count);
  for (uint32_t i = 0; i < count; i++) {
    napi_value element = nullptr;
    napi_get_element(env, call.at(1), i, &element);
    parts[i % 3] = call.StringOf(element);
    if (i % 3 != 2) continue;
    connection->declared_renames.push_back({parts[0].Copy(), parts[1].Copy(), parts[2].Copy()});
  }
  call.Failed(connection, BeginStep(connection));
  return Undefined(env);
}

napi_value Commit(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  call.Failed(connection, CommitStep(connection));
  return Undefined(env);
}

napi_value Abandon(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection != nullptr) AbandonStep(connection);
  return connection == nullptr ? nullptr : Undefined(env);
}

}  // namespace

void AddSchemaFunctions(napi_env env, napi_value exports) {
  struct {
    const char* name;
    napi_callback function;
  } const functions[] = {
      {"takeCompanions", TakeCompanions},
      {"beginStep", Begin},
      {"commitStep", Commit},
      {"abandonStep", Abandon},
  };
  for (const auto& entry : functions) {
    napi_value function = nullptr;
    napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.function, nullptr, &function);
    napi_set_named_property(env, exports, entry.name, function);
  }
}

}  // namespace mergelite
