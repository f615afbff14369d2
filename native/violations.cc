#include "violations.h"

#include <algorithm>

#include "connection.h"
#include "ledger.h"
#include "merge_scope.h"
#include "table_sql.h"

namespace mergelite {
namespace {

// An update that sets every column to what it is: SQLite looks at all CHECKs, and nothing changes.
int PrepareProbe(Connection* connection, Table* table) {
  if (table->probe) return SQLITE_OK;
  const Shape& shape = *table->shape;
  Text sql("UPDATE OR ABORT ");
  AppendTableName(&sql, *table);
  const char* separator = " SET ";
  auto set = [&](const Text& name) {
    (sql << separator).Name(name.c_str()) << " = ";
    sql.Name(name.c_str());
    separator = ", ";
  };
  for (const KeyColumn& key : shape.keys) set(key.name);
  for (const Text& column : shape.columns) set(column);
  sql << " WHERE ";
  AppendKeyCondition(&sql, shape);
  return connection->Prepare(&table->probe, sql.c_str());
}

// What a mark holds in place of a patch: the row's key. Were it ever merged, it would do nothing.
int Mark(Connection* connection, const Doubt& doubt, const char* detail) {
  const Shape& shape = *doubt.table->shape;
  Bytes patch;
  patch.Varint(PatchHead(0, shape.columns.empty() ? Operation::kInsert : Operation::kUpdate));
  patch.Append(doubt.encoded_key.span());
  memset(patch.Reserve(shape.bitmap_bytes()), 0, shape.bitmap_bytes());
  patch.Advance(shape.bitmap_bytes());
  Origin* origin = connection->log.FindOrigin(doubt.peer);
  const Incoming incoming{origin, doubt.sequence, {doubt.timestamp, origin->ordinal}};
  return Park(connection, incoming, shape, {doubt.identity.span(), Reason::kCheck, detail},
              patch.span());
}

int Settle(Connection* connection, const Doubt& doubt) {
  // Its table may have been altered or dropped since.
  if (!doubt.table->active) return SQLITE_OK;
  int rc = PrepareProbe(connection, doubt.table);
  if (rc != SQLITE_OK) return rc;
  const size_t keys = doubt.table->shape->keys.size();
  std::vector<Value> key(keys);
  Reader in(doubt.encoded_key.span());
  for (Value& value : key) ReadValue(&in, &value);
  BindKey(&doubt.table->probe, key.data(), keys);
  rc = doubt.table->probe.Run();
  const bool violates =
      connection->api->extended_errcode(connection->db) == SQLITE_CONSTRAINT_CHECK;
  if (rc != SQLITE_OK && !violates) return connection->Check(rc);
  const Text detail(violates ? connection->api->errmsg(connection->db) : "");
  rc = Unmark(connection, *doubt.table, doubt.identity.span());
  return rc == SQLITE_OK && violates ? Mark(connection, doubt, detail.c_str()) : rc;
}

}  // namespace

int Unmark(Connection* connection, const Table& table, Span identity) {
  Statement& statement = connection->merge->unmark;
  int rc = connection->Prepare(&statement,
                               "DELETE FROM main._mergelite_parked WHERE table_name = ?1 AND key = "
                               "?2 AND reason = 'check'");
  if (rc == SQLITE_OK) {
    rc = connection->merge->ledger().Touch(connection, table.name.c_str(), identity);
  }
  if (rc != SQLITE_OK) return rc;
  statement.String(1, table.name.span());
  statement.Bytes(2, identity);
  return connection->Check(statement.Run());
}

int RunWithoutChecks(Connection* connection, const Table& table, const RowWrite& write, int* code,
                     Text* message) {
  int rc = connection->IgnoreChecks();
  if (rc != SQLITE_OK) return rc;
  rc = connection->merge->scope->Run(table, write.identity, write.statement);
  *code = connection->api->extended_errcode(connection->db);
  message->Clear();
  *message << connection->api->errmsg(connection->db);
  connection->EnforceChecks();
  return rc;
}

void AddDoubt(Connection* connection, const Incoming& incoming, Table* table, Span identity,
              Span encoded_key) {
  std::vector<Doubt>& doubts = connection->merge->doubts;
  Doubt doubt{table, {}, {}, incoming.origin->peer, incoming.sequence, incoming.stamp.timestamp};
  doubt.identity.Append(identity);
  doubt.encoded_key.Append(encoded_key);
  doubts.push_back(static_cast<Doubt&&>(doubt));
}

int SettleDoubts(Connection* connection) {
  MergeState& merge = *connection->merge;
  if (merge.doubts.empty()) return SQLITE_OK;
  std::vector<Doubt> doubts;
  doubts.swap(merge.doubts);
  int rc = merge.scope->BeforeWriting();
  // The user's triggers have nothing to do with an update that changes nothing.
  const bool turned_off = rc == SQLITE_OK && merge.scope->TurnTriggersOff();
  std::sort(doubts.begin(), doubts.end(), [](const Doubt& a, const Doubt& b) {
    if (a.table != b.table) return a.table->id < b.table->id;
    if (!(a.identity.span() == b.identity.span())) return a.identity.span() < b.identity.span();
    return a.timestamp != b.timestamp ? a.timestamp < b.timestamp : a.peer < b.peer;
  });
  for (size_t i = 0; rc == SQLITE_OK && i < doubts.size(); i++) {
    // Of one row the newest: that changeset has made it what it is.
    const bool again = i + 1 < doubts.size() && doubts[i + 1].table == doubts[i].table &&
                       doubts[i + 1].identity.span() == doubts[i].identity.span();
    if (!again) rc = Settle(connection, doubts[i]);
  }
  if (turned_off) merge.scope->TurnTriggersOn();
  return rc;
}

}  // namespace mergelite
