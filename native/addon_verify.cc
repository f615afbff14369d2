#include "addon_verify.h"

#include "addon_values.h"
#include "ranges.h"

namespace mergelite {
namespace {

napi_value BigInt(napi_env env, uint64_t number) {
  napi_value value = nullptr;
  napi_create_bigint_uint64(env, number, &value);
  return value;
}

napi_value Ranges(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  RangeAnswer answer;
  const uint64_t parts = call.Integer(4);
  const int rc = SplitRange(connection, call.String(1).c_str(), {call.View(2), call.View(3)},
                            parts == 0 ? 1 : static_cast<size_t>(parts), call.Real(5), &answer);
  if (call.Failed(connection, rc)) return nullptr;
  napi_value list = Array(env);
  for (const RangePart& part : answer.parts) {
    Push(env, list,
         Object(env)
             .Set("from", Buffer(env, part.from.span()))
             .Set("to", Buffer(env, part.to.span()))
             .Set("rows", part.digest.rows)
             .Set("digest", BigInt(env, part.digest.sum)));
  }
  return Object(env)
      .Flag("busy", answer.busy)
      .Flag("more", answer.more)
      .Set("order", BigInt(env, answer.order))
      .Set("parts", list);
}

napi_value RangeRows(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  RangeAnswer answer;
  const KeyRange range{call.View(2), call.View(3), call.Integer(4) != 0};
  const int rc = ListRange(connection, call.String(1).c_str(), range,
                           static_cast<size_t>(call.Integer(5)), call.Real(6), &answer);
  if (call.Failed(connection, rc)) return nullptr;
  napi_value list = Array(env);
  for (const RangeRow& row : answer.rows) {
    Push(env, list,
         Object(env).Set("key", String(env, row.key.span())).Set("hash", BigInt(env, row.hash)));
  }
  return Object(env)
      .Flag("busy", answer.busy)
      .Flag("more", answer.more)
      .Set("order", BigInt(env, answer.order))
      .Set("rows", list)
      .Set("lastKey", Buffer(env, answer.last_key.span()))
      .Flag("done", answer.done);
}

napi_value Doubt(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  bool busy = false;
  if (call.Failed(connection, DoubtRanges(connection, call.String(1).c_str(), &busy))) {
    return nullptr;
  }
  return Boolean(env, busy);
}

}  // namespace

void AddVerifyFunctions(napi_env env, napi_value exports) {
  struct {
    const char* name;
    napi_callback function;
  } const functions[] = {
      {"ranges", Ranges},
      {"rangeRows", RangeRows},
      {"doubtRanges", Doubt},
  };
  for (const auto& entry : functions) {
    napi_value function = nullptr;
    napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.function, nullptr, &function);
    napi_set_named_property(env, exports, entry.name, function);
  }
}

}  // namespace mergelite
