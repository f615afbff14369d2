#include "withheld.h"

#include "connection.h"
#include "merge_scope.h"
#include "ranges.h"
#include "table_sql.h"

namespace mergelite {
namespace {

int ParkValue(Connection* connection, Table* table, const Parking& parking, Span encoded_key,
              size_t column, const Value& value, const Stamp& stamp) {
  Bytes patch;
  patch.Varint(PatchHead(0, Operation::kUpdate));
  patch.Append(encoded_key);
  const size_t bytes = table->shape->bitmap_bytes();
  memset(patch.Reserve(bytes), 0, bytes);
  patch.data()[patch.size() + column / 8] = static_cast<uint8_t>(1u << (column % 8));
  patch.Advance(bytes);
  AppendValue(&patch, value);
  Origin* origin = connection->log.FindOrigin(connection->log.peers().Of(stamp.origin));
  return Park(connection, {origin, 0, stamp}, *table->shape, parking, patch.span());
}

}  // namespace

Reason WithholdingReason(int code) {
  switch (code) {
    case SQLITE_CONSTRAINT_UNIQUE:
      return Reason::kUnique;
    case SQLITE_CONSTRAINT_NOTNULL:
      return Reason::kNotNull;
    default:
      return Reason::kConstraint;
  }
}

int HeldFor(Connection* connection, const Table& table, Span identity, uint8_t* bit) {
  *bit = 0;
  if (!AnyHeld(connection)) return SQLITE_OK;
  Statement& query = connection->merge->held;
  int rc = connection->Prepare(&query,
                               "SELECT reason FROM main._mergelite_parked WHERE table_name = ?1 "
                               "AND key = ?2 AND reason IN " MERGELITE_HELD " LIMIT 1");
  if (rc != SQLITE_OK) return rc;
  query.String(1, table.name.span());
  query.Bytes(2, identity);
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  *bit = BitOf(ReasonOf(query.ColumnText(0)));
  return connection->Check(query.Reset());
}

void AskToSettle(Table* table, Span identity) {
  table->settle = true;
  table->standoffs.Touch(Clocks::Hashed(*table, identity).hash);
}

int WithholdRow(Connection* connection, Table* table, const Parking& parking, const Value* key,
                Span encoded_key) {
  RowClock clock;
  int rc = connection->merge->clocks.LookUp(connection, table, parking.identity, key, &clock);
  if (rc == SQLITE_OK) rc = PrepareReadRow(connection, table);
  if (rc == SQLITE_OK) rc = PrepareRemove(connection, table);
  if (rc != SQLITE_OK) return rc;
  BindKey(&table->read_row, key, table->shape->keys.size());
  const ResetAtEnd reset(&table->read_row);
  rc = table->read_row.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  Bytes patch;
  patch.Varint(PatchHead(0, Operation::kInsert));
  patch.Append(encoded_key);
  for (size_t i = 0; rc == SQLITE_ROW && i < table->shape->columns.size(); i++) {
    Value value;
    table->read_row.ColumnAny(static_cast<int>(i), &value);
    AppendValue(&patch, value);
    const Stamp stamp = clock.Of(table->column_ids[i]);
    if (stamp == clock.life) continue;
    const int parked = ParkValue(connection, table, parking, encoded_key, i, value, stamp);
    if (parked != SQLITE_OK) return parked;
  }
  rc = connection->Check(table->read_row.Reset());
  if (rc != SQLITE_OK) return rc;
  Origin* origin = connection->log.FindOrigin(connection->log.peers().Of(clock.life.origin));
  rc = Park(connection, {origin, 0, clock.life}, *table->shape, parking, patch.span());
  if (rc != SQLITE_OK) return rc;
  AskToSettle(table, parking.identity);
  BindKey(&table->remove, key, table->shape->keys.size());
  rc = connection->Check(connection->merge->scope->Run(*table, parking.identity, &table->remove));
  return rc == SQLITE_OK ? TouchAllRanges(connection, *table) : rc;
}

int SettleWithheld(Connection* connection) {
  // Rows of changesets not read yet seem to have no birth: a later slice settles them.
  for (const auto& origin : connection->log.origins()) {
    if (origin->absorbed < origin->merged) return SQLITE_OK;
  }
  for (const auto& table : connection->catalog.tables()) {
    if (!table->settle) continue;
    table->settle = false;
    if (!table->active || !AnyHeld(connection)) continue;
    const int rc = SettleTable(connection, table.get());
    if (rc != SQLITE_OK) return rc;
    // Rows that were tried in vain ask for nothing more.
    table->settle = false;
  }
  return SQLITE_OK;
}

}  // namespace mergelite
