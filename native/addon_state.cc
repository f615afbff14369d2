#include "addon_state.h"

#include "addon_conflicts.h"
#include "addon_values.h"
#include "peers.h"
#include "state.h"
#include "trim.h"

namespace mergelite {
namespace {

napi_value Trim(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  TrimPlan plan;
  plan.timestamp = call.Integer(1);
  ForEachPair(call.View(2), [&](uint64_t peer, uint64_t sequence) {
    plan.acknowledged.push_back({peer, sequence});
  });
  ForEachPair(call.View(3), [&](uint64_t peer, uint64_t sequence) {
    plan.held_by_all.push_back({peer, sequence});
  });
  plan.alone = call.Integer(4) != 0;
  TrimStats stats;
  if (call.Failed(connection, TrimLog(connection, plan, call.Real(5), &stats))) return nullptr;
  return Object(env)
      .Set("changesets", stats.changesets)
      .Flag("busy", stats.busy)
      .Flag("more", stats.more);
}

napi_value Horizon(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  Log& log = connection->log;
  const bool known = connection->InTransaction() && log.loaded();
  if (!known && call.Failed(connection, log.Refresh(connection))) return nullptr;
  std::vector<double> pairs;
  for (const auto& origin : log.origins()) {
    if (origin->trimmed == 0) continue;
    pairs.push_back(static_cast<double>(origin->peer));
    pairs.push_back(static_cast<double>(origin->trimmed));
  }
  return Numbers(env, pairs);
}

napi_value NoteKnownPeer(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  KnownPeer peer;
  peer.peer = call.Integer(1);
  ForEachPair(call.View(2), [&](uint64_t origin, uint64_t sequence) {
    peer.vector.push_back({origin, sequence});
  });
  peer.heard_ms = static_cast<int64_t>(call.Integer(3));
  bool busy = false;
  if (call.Failed(connection, NotePeer(connection, peer, &busy))) return nullptr;
  return Boolean(env, !busy);
}

napi_value ForgetKnownPeer(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  bool busy = false;
  if (connection == nullptr ||
      call.Failed(connection, ForgetPeer(connection, call.Integer(1), &busy))) {
    return nullptr;
  }
  return Boolean(env, !busy);
}

napi_value KnownPeers(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  std::vector<KnownPeer> peers;
  if (connection == nullptr || call.Failed(connection, ReadPeers(connection, &peers))) {
    return nullptr;
  }
  napi_value list = Array(env);
  for (const KnownPeer& peer : peers) {
    std::vector<double> pairs;
    for (const KnownPeer::Entry& entry : peer.vector) {
      pairs.push_back(static_cast<double>(entry.origin));
      pairs.push_back(static_cast<double>(entry.sequence));
    }
    Push(env, list,
         Object(env)
             .Set("peerId", peer.peer)
             .Set("vector", Numbers(env, pairs))
             .Set("heardMs", static_cast<uint64_t>(peer.heard_ms))
             .Flag("forgotten", peer.forgotten));
  }
  return list;
}

napi_value StartTransfer(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  StateProgress progress;
  const int rc = StartState(connection, call.Integer(1) != 0, &progress);
  if (call.Failed(connection, rc)) return nullptr;
  std::vector<double> pairs;
  for (const StateOrigin& origin : progress.vector) {
    pairs.push_back(static_cast<double>(origin.peer));
    pairs.push_back(static_cast<double>(origin.sequence));
  }
  return Object(env)
      .Flag("busy", !progress.exists)
      .Set("cursor", Buffer(env, progress.cursor.span()))
      .Set("vector", Numbers(env, pairs))
      .Set("rows", progress.rows);
}

napi_value ReadChunk(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  StateRead read;
  const int rc = ReadState(connection, call.View(1), static_cast<size_t>(call.Integer(2)),
                           call.Real(3), &read);
  if (call.Failed(connection, rc)) return nullptr;
  return Object(env)
      .Flag("busy", read.busy)
      .Flag("more", read.more)
      .Flag("ends", read.ends)
      .Set("chunk", Buffer(env, read.chunk.span()))
      .Set("next", Buffer(env, read.next.span()))
      .Set("table", String(env, read.table.span()))
      .Set("rows", read.rows);
}

napi_value StateBytes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT (page_count - freelist_count) * page_size FROM "
                    "pragma_page_count, pragma_freelist_count, pragma_page_size"));
  if (rc == SQLITE_OK) rc = query.Step();
  if (rc != SQLITE_ROW) {
    call.Failed(connection, connection->Check(rc));
    return nullptr;
  }
  return Number(env, static_cast<uint64_t>(query.ColumnInteger(0)));
}

napi_value TakeChunk(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  const auto flags = static_cast<uint64_t>(call.Integer(4));
  StateMessage message{call.View(1), call.View(2), static_cast<size_t>(call.Integer(3)),
                       (flags & 1) != 0};
  StateMerge merge;
  const int rc = MergeChunk(connection, message, call.Real(5), &merge);
  if (call.Failed(connection, rc)) return nullptr;
  const MergeStats& stats = merge.stats;
  Object result(env);
  result.Set("consumed", stats.consumed)
      .Set("patches", stats.patches)
      .Set("lost", stats.lost)
      .Set("parked", stats.parked)
      .Set("rows", merge.rows)
      .Flag("busy", stats.busy)
      .Flag("more", stats.more)
      .Flag("complete", merge.complete);
  return WithConflicts(env, connection, stats, static_cast<Object&&>(result));
}

}  // namespace

void AddStateFunctions(napi_env env, napi_value exports) {
  Export(env, exports,
         {
             {"trim", Trim},
             {"horizon", Horizon},
             {"notePeer", NoteKnownPeer},
             {"forgetPeer", ForgetKnownPeer},
             {"peers", KnownPeers},
             {"startState", StartTransfer},
             {"readState", ReadChunk},
             {"stateBytes", StateBytes},
             {"mergeState", TakeChunk},
         });
}

}  // namespace mergelite
