// The Node door: unpacks arguments, packs results, and has no logic of its own. Plain Node-API in
// C, so that nothing of the C++ library is needed.
#include "addon_bell.h"
#include "addon_conflicts.h"
#include "addon_copy.h"
#include "addon_file_job.h"
#include "addon_floor.h"
#include "addon_identity.h"
#include "addon_lock.h"
#include "addon_ltx.h"
#include "addon_schema.h"
#include "addon_state.h"
#include "addon_values.h"
#include "addon_verify.h"
#include "addon_wal.h"
#include "connection.h"
#include "identity.h"
#include "merge.h"
#include "replication.h"

namespace mergelite {
namespace {

napi_value Open(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  bool renewed = false;
  const int rc = OpenFile(connection, call.String(1), call.String(2), &renewed);
  if (call.Failed(connection, rc)) return nullptr;
  TakeDownBell(connection);
  HangBell(&call, connection, call.at(3));
  return Object(env).Set("peerId", connection->log.peer_id()).Flag("renewed", renewed);
}

napi_value Close(napi_env env, napi_callback_info info) {
  Call call(env, info);
  // Closing after the database was closed is no mistake.
  Connection* connection = FindConnection(static_cast<int>(call.Integer(0)));
  if (connection == nullptr) return Undefined(env);
  TakeDownBell(connection);
  call.Enter(connection);
  if (!connection->finalized) CloseFile(connection);
  return Undefined(env);
}

napi_value StartTable(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  std::vector<Text> tables;
  tables.push_back(call.String(1));
  call.Failed(connection, Replicate(connection, tables));
  return Undefined(env);
}

napi_value StartTables(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  std::vector<Text> tables;
  if (!call.Strings(1, &tables)) return nullptr;
  call.Failed(connection, Replicate(connection, tables));
  return Undefined(env);
}

napi_value DetachFile(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  call.Failed(connection, Detach(connection));
  return Undefined(env);
}

napi_value Tables(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  if (call.Failed(connection, connection->catalog.Refresh(connection))) return nullptr;
  napi_value names = Array(env);
  for (const auto& table : connection->catalog.tables()) {
    if (table->active) Push(env, names, String(env, table->name.span()));
  }
  return names;
}

// Inside a user's transaction the last committed state is what memory has: the file may show more.
int RefreshIfIdle(Connection* connection) {
  if (connection->InTransaction() && connection->log.loaded()) return SQLITE_OK;
  return connection->log.Refresh(connection);
}

napi_value InTransaction(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  return connection == nullptr ? nullptr : Boolean(env, connection->InTransaction());
}

napi_value SchemaTouched(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  napi_value touched = nullptr;
  napi_get_boolean(env, connection->schema_touched, &touched);
  return touched;
}

napi_value Vector(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr || call.Failed(connection, RefreshIfIdle(connection))) return nullptr;
  Log& log = connection->log;
  std::vector<double> triples;
  auto add = [&](const Origin& origin) {
    for (uint64_t number : {origin.peer, origin.held, origin.merged}) {
      triples.push_back(static_cast<double>(number));
    }
  };
  add(*log.self());
  for (auto& origin : log.origins()) {
    if (origin.get() != log.self()) add(*origin);
  }
  return Numbers(env, triples);
}

napi_value ReadLog(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr || call.Failed(connection, RefreshIfIdle(connection))) return nullptr;
  Bytes records;
  const int rc = connection->log.Read(connection, call.Integer(1), call.Integer(2), call.Integer(3),
                                      call.Integer(4), &records);
  return call.Failed(connection, rc) ? nullptr : Buffer(env, records.span());
}

napi_value Merge(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  const Span records = call.View(1);
  const auto offset = static_cast<size_t>(call.Integer(2));
  if (offset > records.size) {
    Throw(env, "RECORD_MALFORMED", "offset beyond the records", "");
    return nullptr;
  }
  MergeStats stats;
  const int rc = MergeRecords(connection, records, offset, call.Real(3), &stats);
  return call.Failed(connection, rc) ? nullptr : PackStats(env, connection, stats);
}

napi_value MaintainFile(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  MergeStats stats;
  int rc = SQLITE_OK;
  if (!connection->InTransaction()) {
    rc = connection->catalog.Refresh(connection);
    if (rc == SQLITE_OK && connection->catalog.present()) rc = RenewStaleTables(connection);
    if (rc == SQLITE_OK) connection->schema_touched = false;
  }
  if (rc == SQLITE_OK) rc = Maintain(connection, call.Real(1), &stats);
  return call.Failed(connection, rc) ? nullptr : PackStats(env, connection, stats);
}

napi_value Shapes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  uint64_t last = call.Integer(1);
  // Asked after every commit: what this connection knows of answers without SQL.
  if (call.Integer(2) == 0 && connection->catalog.last_shape_id() <= static_cast<int64_t>(last)) {
    return Object(env).Set("last", last).Set("descriptors", Array(env));
  }
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT id, descriptor FROM main._mergelite_shapes WHERE id > ?1 ORDER BY id"));
  if (call.Failed(connection, rc)) return nullptr;
  query.Integer(1, static_cast<int64_t>(last));
  napi_value descriptors = Array(env);
  while ((rc = query.Step()) == SQLITE_ROW) {
    last = static_cast<uint64_t>(query.ColumnInteger(0));
    Push(env, descriptors, Buffer(env, query.ColumnBytes(1)));
  }
  if (call.Failed(connection, connection->Check(rc))) return nullptr;
  return Object(env).Set("last", last).Set("descriptors", descriptors);
}

napi_value LearnShapes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  uint32_t count = 0;
  napi_get_array_length(env, call.at(1), &count);
  int rc = SQLITE_OK;
  {
    Transaction transaction(connection);
    rc = transaction.Begin();
    for (uint32_t i = 0; rc == SQLITE_OK && i < count; i++) {
      napi_value element = nullptr;
      if (napi_get_element(env, call.at(1), i, &element) != napi_ok) return nullptr;
      int64_t id = 0;
      rc = connection->catalog.AddShape(connection, call.ViewOf(element), &id);
    }
    if (rc == SQLITE_OK) rc = transaction.Commit();
  }
  if (rc != SQLITE_OK) {
    connection->catalog.Forget();
    if (connection->merge != nullptr) connection->merge->targets.clear();
  }
  call.Failed(connection, rc);
  return Undefined(env);
}

napi_value ShapeHash(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return String(env, Hex(Hash64(call.View(0))).span());
}

napi_value Parked(napi_env env, Call* call, Connection* connection) {
  napi_value list = Array(env);
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT table_name, reason, count(*) FROM main._mergelite_parked GROUP BY 1, 2"));
  while (rc == SQLITE_OK && (rc = connection->Check(query.Step())) == SQLITE_ROW) {
    rc = SQLITE_OK;
    Object entry(env);
    entry.Set("table", String(env, query.ColumnText(0)));
    entry.Set("reason", String(env, query.ColumnText(1)));
    entry.Set("count", static_cast<uint64_t>(query.ColumnInteger(2)));
    Push(env, list, entry);
  }
  return call->Failed(connection, rc) ? nullptr : list;
}

napi_value Status(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr || call.Failed(connection, RefreshIfIdle(connection))) return nullptr;
  int64_t rows = 0, bytes = 0, refused = 0;
  int rc = connection->log.Counts(connection, &rows, &bytes);
  Statement query;
  if (rc == SQLITE_OK) {
    rc = connection->Check(query.Prepare(connection->api, connection->db,
                                         "SELECT count(*) FROM main._mergelite_refused WHERE "
                                         "length(payload) > 0"));
  }
  if (rc == SQLITE_OK) rc = connection->Check(query.Step());
  if (rc == SQLITE_ROW) {
    refused = query.ColumnInteger(0);
    rc = connection->Check(query.Reset());
  }
  if (call.Failed(connection, rc)) return nullptr;
  napi_value parked = Parked(env, &call, connection);
  if (parked == nullptr) return nullptr;
  return Object(env)
      .Set("peerId", connection->log.peer_id())
      .Set("logRows", static_cast<uint64_t>(rows))
      .Set("logBytes", static_cast<uint64_t>(bytes))
      .Set("timestamp", connection->log.newest_timestamp())
      .Set("parked", parked)
      .Set("refused", static_cast<uint64_t>(refused));
}

// Read from memory: cheap enough to ask every second.
napi_value Count(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  const MergeState* merge = connection->merge.get();
  return Object(env)
      .Set("clockCacheEntries", uint64_t{merge == nullptr ? 0 : merge->clocks.count()})
      .Set("clockCacheBytes", uint64_t{merge == nullptr ? 0 : merge->clocks.bytes()})
      .Set("clockReads", merge == nullptr ? 0 : merge->clocks.reads())
      .Flag("held", merge != nullptr && merge->any_held && merge->parked_loads != UINT64_MAX)
      .Set("localCommits", connection->counters.local_commits)
      .Set("localPatches", connection->counters.local_patches)
      .Set("withheldTries", connection->counters.withheld_tries);
}

napi_value SetClock(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  connection->fixed_clock_ms = static_cast<int64_t>(call.Integer(1));
  return Undefined(env);
}

napi_value SetSeed(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  connection->seed = call.Integer(1);
  return Undefined(env);
}

napi_value SetDrift(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  if (connection->merge == nullptr) connection->merge = std::make_unique<MergeState>();
  connection->merge->drift_max_ms = static_cast<int64_t>(call.Integer(1));
  return Undefined(env);
}

}  // namespace
}  // namespace mergelite

NAPI_MODULE_INIT(/* napi_env env, napi_value exports */) {
  using namespace mergelite;
  Export(env, exports,
         {
             {"open", Open},
             {"close", Close},
             {"replicate", StartTable},
             {"replicateAll", StartTables},
             {"detach", DetachFile},
             {"tables", Tables},
             {"inTransaction", InTransaction},
             {"schemaTouched", SchemaTouched},
             {"vector", Vector},
             {"readLog", ReadLog},
             {"merge", Merge},
             {"maintain", MaintainFile},
             {"shapes", Shapes},
             {"learnShapes", LearnShapes},
             {"shapeHash", ShapeHash},
             {"status", Status},
             {"counters", Count},
             {"setClock", SetClock},
             {"setSeed", SetSeed},
             {"setDriftMax", SetDrift},
         });
  AddFileJobFunctions(env, exports);
  AddIdentityFunctions(env, exports);
  AddStateFunctions(env, exports);
  AddFloorFunctions(env, exports);
  AddConflictFunctions(env, exports);
  AddVerifyFunctions(env, exports);
  AddSchemaFunctions(env, exports);
  AddLtxFunctions(env, exports);
  AddCopyFunctions(env, exports);
  AddWalFunctions(env, exports);
  AddLockFunctions(env, exports);
  return exports;
}
