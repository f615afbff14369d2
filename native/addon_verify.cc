#include "addon_verify.h"

#include "addon_conflicts.h"
#include "addon_values.h"
#include "ranges.h"
#include "repair.h"

namespace mergelite {
namespace {

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
         Object(env).Set("key", Buffer(env, row.key.span())).Set("hash", BigInt(env, row.hash)));
  }
  return Object(env)
      .Flag("busy", answer.busy)
      .Flag("more", answer.more)
      .Set("order", BigInt(env, answer.order))
      .Set("rows", list)
      .Flag("done", answer.done);
}

napi_value DoubtTable(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  bool busy = false;
  if (call.Failed(connection, DoubtRanges(connection, call.String(1).c_str(), &busy))) {
    return nullptr;
  }
  return Boolean(env, busy);
}

napi_value KeyText(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Text text;
  if (!AppendKeyLiterals(&text, call.View(0))) {
    Throw(env, "KEY_MALFORMED", "a key does not decode", "The peer that sent it is damaged.");
    return nullptr;
  }
  return String(env, text.span());
}

napi_value ReadRows(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  RowsRead read;
  const int rc = ReadRowsOf(connection, call.String(1).c_str(), call.View(2),
                            static_cast<size_t>(call.Integer(3)), call.Real(4), &read);
  if (call.Failed(connection, rc)) return nullptr;
  return Object(env)
      .Flag("busy", read.busy)
      .Flag("more", read.more)
      .Set("keys", read.keys)
      .Set("rows", read.rows)
      .Set("chunk", Buffer(env, read.chunk.span()));
}

napi_value Repair(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  RowsRepaired repaired;
  const int rc = RepairRows(connection, call.String(1).c_str(), call.View(2), call.View(3),
                            call.Real(4), &repaired);
  if (call.Failed(connection, rc)) return nullptr;
  const MergeStats& stats = repaired.stats;
  Object result(env);
  result.Flag("busy", stats.busy)
      .Flag("more", stats.more)
      .Flag("behind", repaired.behind)
      .Set("patches", stats.patches)
      .Set("lost", stats.lost)
      .Set("parked", stats.parked)
      .Set("taken", repaired.taken)
      .Set("rewritten", repaired.rewritten);
  return WithConflicts(env, connection, stats, static_cast<Object&&>(result));
}

}  // namespace

void AddVerifyFunctions(napi_env env, napi_value exports) {
  Export(env, exports,
         {
             {"ranges", Ranges},
             {"rangeRows", RangeRows},
             {"doubtRanges", DoubtTable},
             {"keyText", KeyText},
             {"readRows", ReadRows},
             {"repairRows", Repair},
         });
}

}  // namespace mergelite
