#include "addon_identity.h"

#include "addon_values.h"
#include "connection.h"
#include "identity.h"
#include "reissue.h"

namespace mergelite {
namespace {

napi_value Renew(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr || call.Failed(connection, RenewIdentity(connection))) return nullptr;
  return Number(env, connection->log.peer_id());
}

napi_value Reissue(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  const auto after = static_cast<uint64_t>(call.Integer(1));
  if (call.Failed(connection, ReissueChangesets(connection, after))) return nullptr;
  return Number(env, connection->log.peer_id());
}

napi_value ReadFingerprint(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  if (call.Failed(connection, connection->log.Refresh(connection))) return nullptr;
  uint64_t print = 0;
  const auto peer = static_cast<uint64_t>(call.Integer(1));
  const auto sequence = static_cast<uint64_t>(call.Integer(2));
  if (call.Failed(connection, FingerprintAt(connection, peer, sequence, &print))) return nullptr;
  return Number(env, print);
}

}  // namespace

void AddIdentityFunctions(napi_env env, napi_value exports) {
  Export(env, exports,
         {{"renewIdentity", Renew}, {"reissue", Reissue}, {"fingerprintAt", ReadFingerprint}});
}

}  // namespace mergelite
