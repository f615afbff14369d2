#include "floor.h"

#include "connection.h"
#include "ledger.h"
#include "merge_scope.h"
#include "row_scan.h"
#include "state.h"
#include "table_sql.h"

namespace mergelite {
namespace {

constexpr int kRowsBetweenLooks = 64;  // at the time
constexpr size_t kDropsMax = 512;      // in one transaction

int SetInteger(Connection* connection, const char* key, uint64_t number) {
  Value value;
  value.type = Type::kInteger;
  value.integer = static_cast<int64_t>(number);
  return connection->log.SetMeta(connection, key, value);
}

int MetaNumber(Connection* connection, const char* key, uint64_t* number) {
  int64_t integer = 0;
  const int rc = connection->log.MetaInteger(connection, key, &integer);
  *number = static_cast<uint64_t>(integer);
  return rc;
}

// One slice of a sweep: looks without a lock, then deletes what is still as it was.
class Sweeper {
 public:
  Sweeper(Connection* connection, uint64_t horizon, const Deadline& deadline, TombstoneSweep* sweep)
      : connection_(connection), horizon_(horizon), deadline_(deadline), sweep_(*sweep) {}

  int Run() {
    Table* table = NextTable();
    if (table == nullptr) return sweep_.more = false, SQLITE_OK;
    bool ends = false;
    int rc = Look(*table, &ends);
    Bytes name;
    name.Append(table->name.span());
    if (rc == SQLITE_OK && !found_.empty()) rc = Drop(table->name.Copy(), *table->shape);
    if (rc != SQLITE_OK || sweep_.busy) return rc;
    sweep_.kept += kept_;
    // The byte 0: behind this name, and before all that begin like it.
    if (ends) name.Byte(0);
    sweep_.table = Text();
    sweep_.table.Add(name.span());
    sweep_.after.Swap(last_);
    sweep_.more = true;
    if (!ends) return SQLITE_OK;
    sweep_.after.Clear();
    sweep_.more = NextTable() != nullptr;
    return SQLITE_OK;
  }

 private:
  struct Found {
    Bytes key, clock;
  };

  Table* NextTable() const {
    Table* first = nullptr;
    for (const auto& table : connection_->catalog.tables()) {
      if (!table->active || CompareNames(table->name.span(), sweep_.table.span()) < 0) continue;
      if (first != nullptr && CompareNames(first->name.span(), table->name.span()) < 0) continue;
      first = table.get();
    }
    return first;
  }

  bool IsVoid() const {
    if (clock_.has_life && (clock_.alive || clock_.life.timestamp >= horizon_)) return false;
    for (const Override& entry : clock_.overrides) {
      if (entry.stamp.timestamp >= horizon_) return false;
    }
    return true;
  }

  int Look(const Table& table, bool* ends) {
    const Shape& shape = *table.shape;
    const size_t keys = shape.keys.size();
    const bool continues = CompareNames(table.name.span(), sweep_.table.span()) == 0;
    Text names, sql("SELECT _mergelite_clock, ");
    AppendKeyNames(&names, shape);
    sql << names << " FROM ";
    AppendClockName(&sql, table);
    const Span after = continues ? sweep_.after.span() : Span{};
    if (after.size > 0) AppendKeyBound(&(sql << " WHERE "), names, ">", 1, keys);
    sql << " ORDER BY " << names;
    Statement rows;
    int rc = connection_->Check(rows.Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc == SQLITE_OK && after.size > 0) rc = BindKeyBytes(connection_, &rows, 1, after, keys);
    if (rc != SQLITE_OK) return rc;
    for (int looked = 1; (rc = rows.Step()) == SQLITE_ROW; looked++) {
      last_.Clear();
      for (size_t i = 0; i < keys; i++) {
        Value value;
        rows.ColumnAny(static_cast<int>(i) + 1, &value);
        AppendValue(&last_, value);
      }
      const Span clock = rows.ColumnBytes(0);
      if (!clock_.Decode(clock)) continue;
      if (IsVoid()) {
        found_.emplace_back();
        found_.back().key.Append(last_.span());
        found_.back().clock.Append(clock);
      } else if (!clock_.has_life || !clock_.alive) {
        kept_++;
      }
      if (found_.size() == kDropsMax || (looked % kRowsBetweenLooks == 0 && deadline_.Passed())) {
        return connection_->Check(rows.Reset());
      }
    }
    *ends = rc == SQLITE_OK;
    return connection_->Check(rc);
  }

  int Drop(const Text& name, const Shape& shape) {
    MergeStats stats;
    const uint64_t hash = shape.hash;
    const int rc = InMergeTransaction(connection_, &stats, false, [&] {
      Table* table = connection_->catalog.FindTable(name.c_str());
      // The schema has changed since the look: the next sweep finds these rows again.
      if (table == nullptr || !table->active || table->shape->hash != hash) return SQLITE_OK;
      int result = connection_->catalog.Check(connection_, table);
      if (result != SQLITE_OK) return result;
      result = connection_->log.RaiseSwept(connection_, horizon_);
      if (result != SQLITE_OK) return result;
      connection_->merge->clocks.EndLookUps(connection_);
      Text sql("DELETE FROM ");
      AppendClockName(&sql, *table);
      sql << " WHERE ";
      AppendKeyCondition(&sql, *table->shape);
      sql << " AND _mergelite_clock = ?" << (table->shape->keys.size() + 1);
      Statement statement;
      result =
          connection_->Check(statement.Prepare(connection_->api, connection_->db, sql.c_str()));
      for (size_t i = 0; result == SQLITE_OK && i < found_.size(); i++) {
        result = DropOne(*table, found_[i], &statement);
      }
      return result;
    });
    sweep_.busy = stats.busy;
    return rc;
  }

  int DropOne(const Table& table, const Found& found, Statement* statement) {
    const size_t keys = table.shape->keys.size();
    int rc = BindKeyBytes(connection_, statement, 1, found.key.span(), keys);
    if (rc != SQLITE_OK) return rc;
    statement->Bytes(static_cast<int>(keys) + 1, found.clock.span());
    rc = connection_->Check(statement->Run());
    if (rc != SQLITE_OK || connection_->api->changes(connection_->db) == 0) return rc;
    sweep_.dropped++;
    return AnyParked(connection_) ? DropParked(table, found) : SQLITE_OK;
  }

  // Updates that wait for the row: an insert that could bring it back would be above them.
  int DropParked(const Table& table, const Found& found) {
    std::vector<Value> key(table.shape->keys.size());
    Reader in(found.key.span());
    for (Value& value : key) ReadValue(&in, &value);
    Bytes identity;
    IdentityOf(*table.shape, key.data(), &identity);
    int rc = connection_->merge->ledger().Touch(connection_, table.name.c_str(), identity.span());
    if (rc != SQLITE_OK) return rc;
    rc = connection_->Prepare(&parked_,
                              "DELETE FROM main._mergelite_parked WHERE table_name = ?1 AND key = "
                              "?2 AND timestamp < ?3 AND reason IN ('row', 'column')");
    if (rc != SQLITE_OK) return rc;
    parked_.String(1, table.name.span());
    parked_.Bytes(2, identity.span());
    parked_.Integer(3, static_cast<int64_t>(horizon_));
    return connection_->Check(parked_.Run());
  }

  Connection* connection_;
  const uint64_t horizon_;
  const Deadline& deadline_;
  TombstoneSweep& sweep_;
  std::vector<Found> found_;
  Bytes last_;
  uint64_t kept_ = 0;
  RowClock clock_;
  Statement parked_;
};

}  // namespace

int ReadFloor(Connection* connection, FloorRecord* record) {
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT value FROM main._mergelite_meta WHERE key = 'floor'"));
  if (rc != SQLITE_OK) return rc;
  rc = query.Step();
  if (rc == SQLITE_ROW) {
    record->state.Append(query.ColumnBytes(0));
    rc = query.Reset();
  }
  if (rc != SQLITE_OK) return connection->Check(rc);
  rc = MetaNumber(connection, "floor_revision", &record->revision);
  if (rc == SQLITE_OK) rc = MetaNumber(connection, "bound", &record->bound);
  if (rc == SQLITE_OK) rc = MetaNumber(connection, "swept", &record->swept);
  StateProgress progress;
  if (rc == SQLITE_OK) rc = ReadStateProgress(connection, &progress);
  record->transfer = progress.exists;
  return rc;
}

int SaveFloor(Connection* connection, const FloorRecord& record, FloorSave* save) {
  MergeStats stats;
  const int rc = InMergeTransaction(connection, &stats, false, [&] {
    Log& log = connection->log;
    uint64_t revision, bound;
    int result = MetaNumber(connection, "floor_revision", &revision);
    if (result == SQLITE_OK) result = MetaNumber(connection, "bound", &bound);
    if (result != SQLITE_OK) return result;
    save->stale = revision != record.revision;
    if (save->stale) return SQLITE_OK;
    Value value;
    value.type = Type::kBlob;
    value.content = record.state.span();
    result = log.SetMeta(connection, "floor", value);
    if (result == SQLITE_OK) result = SetInteger(connection, "floor_revision", revision + 1);
    if (result != SQLITE_OK || record.bound <= bound) return result;
    log.Observe(record.bound);
    log.self()->timestamp = log.newest_timestamp();
    log.self()->dirty = true;
    return SetInteger(connection, "bound", record.bound);
  });
  save->busy = stats.busy;
  return rc;
}

int SweepTombstones(Connection* connection, uint64_t horizon, double budget_ms,
                    TombstoneSweep* sweep) {
  const Deadline deadline(connection, budget_ms);
  sweep->more = true;
  if (connection->InTransaction()) return sweep->busy = true, SQLITE_OK;
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK && !connection->catalog.present()) return sweep->more = false, SQLITE_OK;
  if (rc == SQLITE_OK) rc = connection->log.Refresh(connection);
  return rc == SQLITE_OK ? Sweeper(connection, horizon, deadline, sweep).Run() : rc;
}

}  // namespace mergelite
