#include "column_drop.h"

#include "bootstrap.h"
#include "clocks.h"
#include "ledger.h"
#include "merge.h"
#include "parked.h"
#include "renames.h"

namespace mergelite {
namespace {

class ColumnParking {
 public:
  ColumnParking(Connection* connection, Table* table, const Tracked& tracked, size_t column)
      : connection_(connection),
        table_(table),
        tracked_(tracked),
        shape_(*table->shape),
        column_(column),
        key_(shape_.keys.size()) {}

  int Run(const Text& fallback) {
    Text sql("SELECT ");
    for (size_t i = 0; i < key_.size(); i++) sql.Name(tracked_.names[i].c_str()) << ", ";
    const char* column = tracked_.names[key_.size() + column_].c_str();
    sql.Name(column) << " FROM main.";
    sql.Name(tracked_.table.c_str()) << " WHERE ";
    sql.Name(column) << " IS NOT (" << fallback << ")";
    Statement query;
    int rc = connection_->Check(query.Prepare(connection_->api, connection_->db, sql.c_str()));
    while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) rc = ParkRow(&query);
    if (rc == SQLITE_OK) rc = ParkWithheld();
    return connection_->Check(rc);
  }

 private:
  // Rows that are not in the table hold values of the column as well.
  int ParkWithheld() {
    Statement query;
    int rc = connection_->Check(query.Prepare(
        connection_->api, connection_->db,
        "SELECT key, peer, sequence, timestamp, shape, patch FROM main._mergelite_parked WHERE "
        "table_name = ?1 AND reason IN " MERGELITE_WITHHELD));
    if (rc != SQLITE_OK) return rc;
    query.String(1, table_->name.span());
    while ((rc = query.Step()) == SQLITE_ROW) {
      Bytes identity, bytes;
      identity.Append(query.ColumnBytes(0));
      bytes.Append(query.ColumnBytes(5));
      const Origin* origin =
          connection_->log.FindOrigin(static_cast<uint64_t>(query.ColumnInteger(1)));
      const Shape* shape;
      rc = connection_->catalog.FindShape(connection_,
                                          static_cast<uint64_t>(query.ColumnInteger(4)), &shape);
      if (rc != SQLITE_OK) return rc;
      if (shape == nullptr || origin == nullptr) continue;
      const auto sequence = static_cast<uint64_t>(query.ColumnInteger(2));
      const auto timestamp = static_cast<uint64_t>(query.ColumnInteger(3));
      rc = ParkValueOf({origin, sequence, {timestamp, origin->ordinal}}, *shape, identity.span(),
                       bytes.span());
      if (rc != SQLITE_OK) return rc;
    }
    return rc;
  }

  int ParkValueOf(const Incoming& incoming, const Shape& shape, Span identity, Span bytes) {
    SinglePatch single(bytes, &shape);
    Patch patch;
    if (!single.Read(&patch)) return SQLITE_OK;
    for (size_t i = 0; i < shape.columns.size(); i++) {
      const int column = table_->FindColumn(shape.columns[i].c_str());
      if (column != static_cast<int>(column_) || !patch.Sets(i)) continue;
      Bytes value;
      value.Varint(PatchHead(0, Operation::kUpdate));
      value.Append(patch.encoded_key);
      memset(value.Reserve(shape.bitmap_bytes()), 0, shape.bitmap_bytes());
      value.data()[value.size() + i / 8] = static_cast<uint8_t>(1u << (i % 8));
      value.Advance(shape.bitmap_bytes());
      AppendValue(&value, patch.values[i]);
      return Park(connection_, incoming, shape, {identity, Reason::kColumn}, value.span());
    }
    return SQLITE_OK;
  }

  int ParkRow(Statement* query) {
    Bytes patch, identity;
    patch.Varint(PatchHead(0, Operation::kUpdate));
    for (size_t i = 0; i < key_.size(); i++) {
      query->ColumnAny(static_cast<int>(i), &key_[i]);
      // A row that has no key was never replicated.
      if (key_[i].type == Type::kNull) return SQLITE_OK;
      AppendValue(&patch, key_[i]);
    }
    IdentityOf(shape_, key_.data(), &identity);
    MergeState& merge = *connection_->merge;
    int rc = merge.clocks.LookUp(connection_, table_, identity.span(), key_.data(), &clock_);
    if (rc != SQLITE_OK || !clock_.alive) return rc;
    const Stamp& stamp = clock_.Of(table_->column_ids[column_]);
    // The column has come back and not been filled from what was parked yet: what it shows is what
    // a migration has put there, for as long.
    bool is_parked;
    rc = IsParkedSince(connection_, *table_, identity.span(), {column_, stamp}, &is_parked);
    if (rc != SQLITE_OK || is_parked) return rc;
    const size_t bytes = shape_.bitmap_bytes();
    memset(patch.Reserve(bytes), 0, bytes);
    patch.data()[patch.size() + column_ / 8] = static_cast<uint8_t>(1u << (column_ % 8));
    patch.Advance(bytes);
    Value value;
    query->ColumnAny(static_cast<int>(key_.size()), &value);
    AppendValue(&patch, value);
    const Origin* origin = connection_->log.FindOrigin(connection_->log.peers().Of(stamp.origin));
    if (origin == nullptr) return SQLITE_OK;
    return Park(connection_, {origin, 0, stamp}, shape_, {identity.span(), Reason::kColumn},
                patch.span());
  }

  Connection* connection_;
  Table* table_;
  const Tracked& tracked_;
  const Shape& shape_;
  size_t column_;
  std::vector<Value> key_;
  RowClock clock_;
};

int ReadyToPark(Connection* connection) {
  int rc = connection->log.Refresh(connection);
  if (rc == SQLITE_OK) rc = FoldEverything(connection);
  if (rc == SQLITE_OK) connection->merge->ledger().Begin();
  return rc;
}

int ParkTracked(Connection* connection, Table* table, const Tracked& tracked, size_t column) {
  Text fallback;
  int rc = ReadDefault(connection, tracked.table, tracked.names[table->shape->keys.size() + column],
                       &fallback);
  const KeepRowid keep(connection);
  if (rc == SQLITE_OK) rc = ReadyToPark(connection);
  if (rc != SQLITE_OK) return rc;
  MergeStats stats;
  connection->merge->stats = &stats;
  rc = ColumnParking(connection, table, tracked, column).Run(fallback);
  connection->merge->stats = nullptr;
  connection->merge->parked_loads = UINT64_MAX;
  return rc;
}

}  // namespace

int ParkColumn(Connection* connection, const char* name, const char* column) {
  int rc = connection->catalog.Refresh(connection);
  if (rc != SQLITE_OK || !connection->catalog.present()) return rc;
  for (const auto& table : connection->catalog.tables()) {
    if (!table->active) continue;
    Tracked tracked;
    rc = ReadTracked(connection, *table, &tracked);
    if (rc != SQLITE_OK) return rc;
    if (tracked.table.empty() || !SameName(tracked.table.c_str(), name)) continue;
    const size_t keys = table->shape->keys.size();
    for (size_t i = keys; i < tracked.names.size(); i++) {
      if (!SameName(tracked.names[i].c_str(), column)) continue;
      return ParkTracked(connection, table.get(), tracked, i - keys);
    }
    return SQLITE_OK;  // it came in the same transaction
  }
  return SQLITE_OK;
}

}  // namespace mergelite
