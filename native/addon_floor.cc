#include "addon_floor.h"

#include "addon_values.h"
#include "floor.h"
#include "readmit.h"

namespace mergelite {
namespace {

napi_value Floor(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  FloorRecord record;
  if (connection == nullptr || call.Failed(connection, ReadFloor(connection, &record))) {
    return nullptr;
  }
  return Object(env)
      .Set("state", Buffer(env, record.state.span()))
      .Set("revision", record.revision)
      .Set("bound", record.bound)
      .Set("swept", record.swept)
      .Flag("transfer", record.transfer);
}

napi_value Save(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  FloorRecord record;
  record.state.Append(call.View(1));
  record.revision = call.Integer(2);
  record.bound = call.Integer(3);
  FloorSave save;
  if (call.Failed(connection, SaveFloor(connection, record, &save))) return nullptr;
  return Object(env).Flag("busy", save.busy).Flag("stale", save.stale);
}

napi_value Sweep(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  TombstoneSweep sweep;
  sweep.table = call.String(2);
  sweep.after.Append(call.View(3));
  const int rc = SweepTombstones(connection, call.Integer(1), call.Real(4), &sweep);
  if (call.Failed(connection, rc)) return nullptr;
  return Object(env)
      .Set("table", String(env, sweep.table.span()))
      .Set("after", Buffer(env, sweep.after.span()))
      .Set("dropped", sweep.dropped)
      .Set("kept", sweep.kept)
      .Flag("busy", sweep.busy)
      .Flag("more", sweep.more);
}

// Arguments from the second on: flat pairs of what the member holds, members, bound.
Readmission ReadmissionOf(Call* call) {
  Readmission readmission;
  ForEachPair(call->View(1), [&](uint64_t peer, uint64_t sequence) {
    readmission.vector.push_back({peer, sequence});
  });
  ForEachNumber(call->View(2), [&](uint64_t number) { readmission.members.push_back(number); });
  readmission.bound = call->Integer(3);
  return readmission;
}

napi_value UnsentBelow(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  Unsent unsent;
  if (connection == nullptr ||
      call.Failed(connection, FindUnsent(connection, ReadmissionOf(&call), &unsent))) {
    return nullptr;
  }
  return Object(env).Flag("own", unsent.own).Flag("others", unsent.others);
}

napi_value ReissueSlice(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  Reissue reissue;
  reissue.cursor.Append(call.View(4));
  const int rc = ReissueRows(connection, ReadmissionOf(&call), call.Real(5), &reissue);
  if (call.Failed(connection, rc)) return nullptr;
  return Object(env)
      .Set("cursor", Buffer(env, reissue.cursor.span()))
      .Set("patches", reissue.patches)
      .Flag("busy", reissue.busy)
      .Flag("more", reissue.more);
}

napi_value GiveUpSlice(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  GiveUp give_up;
  const int rc = GiveUpChangesets(connection, ReadmissionOf(&call), call.Real(4), &give_up);
  if (call.Failed(connection, rc)) return nullptr;
  return Object(env)
      .Set("changesets", give_up.changesets)
      .Flag("busy", give_up.busy)
      .Flag("more", give_up.more);
}

}  // namespace

void AddFloorFunctions(napi_env env, napi_value exports) {
  Export(env, exports,
         {
             {"floor", Floor},
             {"saveFloor", Save},
             {"sweepTombstones", Sweep},
             {"unsentBelow", UnsentBelow},
             {"reissueRows", ReissueSlice},
             {"giveUp", GiveUpSlice},
         });
}

}  // namespace mergelite
