#include "addon_schema.h"

#include "addon_values.h"
#include "companions.h"
#include "old_values.h"
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

napi_value KeepOld(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  std::vector<Text> names;
  if (connection == nullptr || !call.Strings(1, &names)) return nullptr;
  call.Failed(connection, KeepOldValues(connection, names, call.Integer(2) != 0));
  return Undefined(env);
}

napi_value Begin(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  connection->declared_renames.clear();
  std::vector<Text> parts;
  if (!call.Strings(1, &parts)) return nullptr;
  for (size_t i = 0; i + 3 <= parts.size(); i += 3) {
    connection->declared_renames.push_back(
        {parts[i].Copy(), parts[i + 1].Copy(), parts[i + 2].Copy()});
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
  Export(env, exports,
         {
             {"takeCompanions", TakeCompanions},
             {"keepOldValues", KeepOld},
             {"beginStep", Begin},
             {"commitStep", Commit},
             {"abandonStep", Abandon},
         });
}

}  // namespace mergelite
