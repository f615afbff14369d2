#include "addon_conflicts.h"

#include "addon_values.h"
#include "conflicts.h"
#include "orphans.h"

namespace mergelite {
namespace {

// Integers beyond 53 bits as bigint, texts as strings, blobs as Uint8Array.
napi_value JsValue(napi_env env, const Value& value) {
  napi_value js = nullptr;
  switch (value.type) {
    case Type::kNull:
      napi_get_null(env, &js);
      return js;
    case Type::kInteger:
      if (value.integer < -9007199254740991 || value.integer > 9007199254740991) {
        napi_create_bigint_int64(env, value.integer, &js);
        return js;
      }
      return Number(env, static_cast<double>(value.integer));
    case Type::kReal:
      return Number(env, value.real);
    case Type::kText:
      return String(env, value.content);
    case Type::kBlob:
      break;
  }
  return Buffer(env, value.content);
}

// Names and values in turn: an object would take a column named __proto__ for its prototype.
napi_value Pairs(napi_env env, const std::vector<NamedValue>& values) {
  napi_value list = Array(env);
  for (const NamedValue& one : values) {
    Push(env, list, String(env, one.name->span()));
    Push(env, list, JsValue(env, one.value));
  }
  return list;
}

struct Listing {
  napi_env env;
  napi_value list = nullptr;
  uint64_t left = UINT64_MAX;
};

void PushConflict(void* context, const Conflict& conflict) {
  auto* listing = static_cast<Listing*>(context);
  const napi_env env = listing->env;
  const char* operations[] = {"", "insert", "update", "delete"};
  Push(env, listing->list,
       Object(env)
           .Set("id", static_cast<uint64_t>(conflict.id))
           .Set("table", String(env, conflict.table.span()))
           .Set("reason", String(env, NameOf(conflict.reason)))
           .Set("detail", String(env, conflict.detail.span()))
           .Set("origin", conflict.peer)
           .Set("sequence", conflict.sequence)
           .Set("timestamp", conflict.timestamp)
           .Set("operation", String(env, operations[static_cast<size_t>(conflict.operation)]))
           .Set("key", Pairs(env, conflict.key))
           .Set("values", Pairs(env, conflict.values)));
}

napi_value Conflicts(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  ConflictQuery query;
  query.after = static_cast<int64_t>(call.Integer(1));
  query.limit = call.Integer(2);
  query.table = call.String(3);
  query.reason = call.String(4);
  query.id = static_cast<int64_t>(call.Integer(5));
  Listing listing{env, Array(env)};
  const int rc = ForEachConflict(connection, query, PushConflict, &listing);
  return call.Failed(connection, rc) ? nullptr : listing.list;
}

napi_value Refused(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT peer, sequence, timestamp, reason, length(payload) FROM main._mergelite_refused "
      "WHERE "
      "length(payload) > 0 AND (peer, sequence) > (?1, ?2) ORDER BY peer, sequence LIMIT ?3"));
  if (call.Failed(connection, rc)) return nullptr;
  for (int i = 1; i <= 3; i++) {
    query.Integer(i, static_cast<int64_t>(call.Integer(static_cast<size_t>(i))));
  }
  napi_value list = Array(env);
  while ((rc = query.Step()) == SQLITE_ROW) {
    Push(env, list,
         Object(env)
             .Set("origin", static_cast<uint64_t>(query.ColumnInteger(0)))
             .Set("sequence", static_cast<uint64_t>(query.ColumnInteger(1)))
             .Set("timestamp", static_cast<uint64_t>(query.ColumnInteger(2)))
             .Set("reason", String(env, query.ColumnText(3)))
             .Set("bytes", static_cast<uint64_t>(query.ColumnInteger(4))));
  }
  return call.Failed(connection, connection->Check(rc)) ? nullptr : list;
}

// Origins whose next changeset is held and not merged because its clock is ahead.
napi_value Waiting(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  if (!connection->InTransaction() || !connection->log.loaded()) {
    if (call.Failed(connection, connection->log.Refresh(connection))) return nullptr;
  }
  napi_value list = Array(env);
  for (const auto& origin : connection->log.origins()) {
    if (origin->merged >= origin->held) continue;
    uint64_t timestamp = 0;
    const int rc = connection->log.ForEach(connection, *origin, origin->merged, origin->merged + 1,
                                           [&](const Record& record) {
                                             timestamp = record.timestamp;
                                             return true;
                                           });
    if (call.Failed(connection, connection->Check(rc))) return nullptr;
    const int64_t drift_max = connection->merge == nullptr ? 0 : connection->merge->drift_max_ms;
    // A transaction whose last parts are on their way waits as well.
    if (WallMsOf(timestamp) - connection->NowMs() <= drift_max) continue;
    Push(env, list,
         Object(env)
             .Set("origin", origin->peer)
             .Set("sequence", origin->merged + 1)
             .Set("timestamp", timestamp)
             .Set("changesets", origin->held - origin->merged));
  }
  return list;
}

void PushOrphan(void* context, const Conflict& orphan, Span encoded_key) {
  auto* listing = static_cast<Listing*>(context);
  if (listing->left == 0) return;
  listing->left--;
  const napi_env env = listing->env;
  Push(env, listing->list,
       Object(env)
           .Set("encodedKey", Buffer(env, encoded_key))
           .Set("detail", String(env, orphan.detail.span()))
           .Set("key", Pairs(env, orphan.key))
           .Set("values", Pairs(env, orphan.values)));
}

napi_value Orphans(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  Listing listing{env, Array(env), call.Integer(4)};
  OrphanPage page;
  const int rc = FindOrphans(connection, call.String(1).c_str(), call.View(2), call.Real(3), &page,
                             PushOrphan, &listing);
  if (call.Failed(connection, rc)) return nullptr;
  return Object(env)
      .Set("rows", page.rows)
      .Set("count", page.orphans)
      .Set("found", listing.list)
      .Set("lastKey", Buffer(env, page.last_key.span()))
      .Flag("done", page.done);
}

napi_value Retry(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  MergeStats stats;
  const int rc = RetryConflict(connection, static_cast<int64_t>(call.Integer(1)), &stats);
  return call.Failed(connection, rc) ? nullptr : PackStats(env, connection, stats);
}

napi_value Discard(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  MergeStats stats;
  const int rc = DiscardConflict(connection, static_cast<int64_t>(call.Integer(1)), &stats);
  return call.Failed(connection, rc) ? nullptr : PackStats(env, connection, stats);
}

napi_value DiscardBytes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  call.Failed(connection, DiscardRefused(connection, call.Integer(1), call.Integer(2)));
  return Undefined(env);
}

napi_value Delete(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  call.Failed(connection, DeleteRow(connection, call.String(1).c_str(), call.View(2)));
  return Undefined(env);
}

// The key of a row by what its identity remembers of it.
napi_value KeyOf(napi_env env, Connection* connection, const Text& name, const Bytes& identity) {
  std::vector<NamedValue> key;
  const Table* table = connection->catalog.FindTable(name.c_str());
  Reader in(identity.span());
  for (size_t i = 0; table != nullptr && i < table->shape->keys.size(); i++) {
    NamedValue part{&table->shape->keys[i].name, {}};
    if (ReadValue(&in, &part.value)) key.push_back(part);
  }
  return Pairs(env, key);
}

}  // namespace

napi_value WithConflicts(napi_env env, Connection* connection, const MergeStats& stats,
                         Object&& result) {
  napi_value conflicts = Array(env), resolved = Array(env);
  for (int64_t id : stats.conflicts) Push(env, conflicts, Number(env, static_cast<double>(id)));
  for (const MergeStats::Resolved& one : stats.resolved) {
    Push(env, resolved,
         Object(env)
             .Set("table", String(env, one.table.span()))
             .Set("reason", String(env, one.reason))
             .Set("key", KeyOf(env, connection, one.table, one.identity)));
  }
  return result.Set("conflicts", conflicts)
      .Set("resolved", resolved)
      .Set("untold", stats.untold)
      .Set("resumeAtMs", static_cast<uint64_t>(stats.resume_at_ms));
}

napi_value PackStats(napi_env env, Connection* connection, const MergeStats& stats) {
  napi_value gaps = Array(env), shapes = Array(env), refused = Array(env);
  for (const MergeStats::Gap& gap : stats.gaps) {
    Push(env, gaps, Number(env, gap.peer));
    Push(env, gaps, Number(env, gap.sequence));
  }
  for (uint64_t hash : stats.unknown_shapes) Push(env, shapes, String(env, Hex(hash).span()));
  for (const MergeStats::Refused& one : stats.refused) {
    Push(env, refused,
         Object(env)
             .Set("origin", one.peer)
             .Set("sequence", one.sequence)
             .Set("reason", String(env, one.reason)));
  }
  napi_value collisions = Array(env);
  for (const MergeStats::Collision& one : stats.collisions) {
    Push(env, collisions,
         Object(env)
             .Set("table", String(env, one.table.span()))
             .Set("key", KeyOf(env, connection, one.table, one.identity))
             .Set("origin", one.peer)
             .Set("other", one.other));
  }
  Object result(env);
  result.Set("consumed", stats.consumed)
      .Set("changesets", stats.changesets)
      .Set("patches", stats.patches)
      .Set("lost", stats.lost)
      .Set("parked", stats.parked)
      .Set("duplicates", stats.duplicates)
      .Flag("busy", stats.busy)
      .Flag("more", stats.more)
      .Set("gaps", gaps)
      .Set("below", stats.below)
      .Set("unknownShapes", shapes)
      .Set("refused", refused)
      .Set("keyCollisions", stats.key_collisions)
      .Set("collisions", collisions);
  return WithConflicts(env, connection, stats, static_cast<Object&&>(result));
}

void AddConflictFunctions(napi_env env, napi_value exports) {
  Export(env, exports,
         {
             {"conflicts", Conflicts},
             {"refused", Refused},
             {"waiting", Waiting},
             {"orphans", Orphans},
             {"retry", Retry},
             {"discard", Discard},
             {"discardRefused", DiscardBytes},
             {"deleteRow", Delete},
         });
}

}  // namespace mergelite
