#include "state_fresh.h"

#include <algorithm>

#include "connection.h"
#include "parked.h"
#include "ranges.h"
#include "table_sql.h"

namespace mergelite {
namespace {

constexpr size_t kFeedColumnsMax = 1024;
// Rows for which something is parked are merged patch by patch; with more of them all are.
constexpr size_t kParkedMax = 1024;

// OR FAIL: what was written before a row that a constraint refuses stays, and nothing is written to
// a journal for the case that it should not.
Text FreshClocksSql(const Table& table) {
  const size_t keys = table.shape->keys.size();
  Text sql("INSERT OR FAIL INTO ");
  AppendClockName(&sql, table);
  sql << " (";
  AppendKeyNames(&sql, *table.shape);
  sql << ", _mergelite_clock) SELECT v0";
  for (uint64_t i = 1; i <= keys; i++) sql << ", v" << i;
  sql << " FROM ";
  AppendFeedName(&sql, keys + 1);
  sql << "(?1)";
  return sql;
}

Text FreshRowsSql(const Target& target) {
  const Table& table = *target.table;
  const Shape& shape = *table.shape;
  Text sql("INSERT OR FAIL INTO "), values("v0");
  AppendTableName(&sql, table);
  sql << " (";
  AppendKeyNames(&sql, shape);
  uint64_t value = 1;
  while (value < shape.keys.size()) values << ", v" << value++;
  for (int known : target.columns) {
    const auto column = static_cast<size_t>(known);
    (sql << ", ").Name(shape.columns[column].c_str());
    const Text& fallback = table.null_defaults[column];
    if (fallback.empty()) {
      values << ", v" << value++;
    } else {
      values << ", coalesce(v" << value++ << ", (" << fallback << "))";
    }
  }
  sql << ") SELECT " << values << " FROM ";
  AppendFeedName(&sql, value);
  sql << "(?1)";
  return sql;
}

}  // namespace

// Both stop at rows that are of no kind to write; `at` is the row given last.
class FreshRows::ClockFeed final : public Feed {
 public:
  ClockFeed(const FreshRows& fresh, size_t from) : fresh_(fresh), next_(from) {}

  bool Next() override {
    while (next_ < fresh_.rows_.size()) {
      at_ = next_++;
      const Row& row = fresh_.rows_[at_];
      if (row.kind != Kind::kShown && row.kind != Kind::kDeleted) continue;
      clock_.content = {fresh_.clocks_.data() + row.clock, row.clock_size};
      return true;
    }
    return false;
  }
  const Value& Column(size_t index) const override {
    const size_t keys = fresh_.target_->shape->keys.size();
    return index < keys ? fresh_.values_[at_ * fresh_.width() + index] : clock_;
  }
  size_t at() const { return at_; }

 private:
  const FreshRows& fresh_;
  size_t next_, at_ = 0;
  Value clock_{Type::kBlob, 0, 0, {}};
};

class FreshRows::ShownFeed final : public Feed {
 public:
  ShownFeed(const FreshRows& fresh, size_t from) : fresh_(fresh), next_(from) {}

  bool Next() override {
    while (next_ < fresh_.rows_.size()) {
      at_ = next_++;
      if (fresh_.rows_[at_].kind == Kind::kShown) return true;
    }
    return false;
  }
  const Value& Column(size_t index) const override {
    return fresh_.values_[at_ * fresh_.width() + index];
  }
  size_t at() const { return at_; }

 private:
  const FreshRows& fresh_;
  size_t next_, at_ = 0;
};

size_t FreshRows::width() const {
  return target_->shape->keys.size() + target_->shape->columns.size();
}

int FreshRows::Open(Table* table, bool* fits) {
  *fits = false;
  const Shape* shape;
  int rc = connection_->catalog.FindShape(connection_, Hash64(chunk_.shapes[0]), &shape);
  if (rc == SQLITE_OK) rc = ResolveTarget(connection_, shape, &target_);
  if (rc != SQLITE_OK || target_->table != table || !target_->knows_all_columns) return rc;
  if (!connection_->merge->scope->triggers_off() || width() >= kFeedColumnsMax) return rc;
  rc = LookForParked(*table, fits);
  return rc == SQLITE_OK && *fits ? Prepare() : rc;
}

int FreshRows::LookForParked(const Table& table, bool* fits) {
  parked_.clear();
  *fits = true;
  if (!AnyParked(connection_)) return SQLITE_OK;
  Statement query;
  int rc = connection_->Check(
      query.Prepare(connection_->api, connection_->db,
                    "SELECT DISTINCT key FROM main._mergelite_parked WHERE table_name = ?1 ORDER "
                    "BY key"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, table.name.span());
  while ((rc = query.Step()) == SQLITE_ROW) {
    if (parked_.size() == kParkedMax) return *fits = false, connection_->Check(query.Reset());
    parked_.emplace_back();
    parked_.back().Append(query.ColumnBytes(0));
  }
  return connection_->Check(rc);
}

int FreshRows::Prepare() {
  origins_.assign(chunk_.vector.size(), nullptr);
  int rc = connection_->Prepare(&target_->fresh_clocks, FreshClocksSql(*target_->table).c_str());
  if (rc != SQLITE_OK || target_->fresh_rows) return rc;
  return connection_->Prepare(&target_->fresh_rows, FreshRowsSql(*target_).c_str());
}

int FreshRows::Merge(Reader* in, uint64_t rows_max, uint64_t* merged, Span* last) {
  rows_.clear();
  values_.clear();
  clocks_.Clear();
  int rc = SQLITE_OK;
  while (rc == SQLITE_OK && rows_.size() < rows_max && !in->AtEnd()) rc = ReadRow(in, last);
  if (rc == SQLITE_OK) rc = WriteClocks();
  if (rc == SQLITE_OK) rc = WriteRows();
  if (rc == SQLITE_OK) rc = MergePatches();
  if (target_->table->has_unique_indexes) target_->table->settle = true;
  *merged += rows_.size();
  return rc;
}

// What a row's patches come to, where nothing else is known of it: most are one insert.
int FreshRows::ReadRow(Reader* in, Span* last) {
  const size_t first = values_.size();
  Row row;
  row.items = in->at();
  StateItem item;
  Patch patch;
  bool begins = true;
  do {
    int rc = items_.Next(in, &item, &patch);
    Stamp stamp;
    if (rc == SQLITE_OK) rc = StampOf(item, &stamp);
    if (rc != SQLITE_OK) return rc;
    if (begins) {
      *last = patch.encoded_key;
      row.kind = Begin(item, patch, stamp);
    } else if (row.kind == Kind::kShown && item.sequence == 0 &&
               patch.operation == Operation::kUpdate && patch.shape == target_->shape) {
      Update(patch, stamp);
    } else {
      row.kind = Kind::kPatches;
    }
    begins = false;
    row.patches++;
  } while (item.goes_on);
  values_.resize(first + width());
  if (row.kind == Kind::kShown || row.kind == Kind::kDeleted) {
    row.clock = clocks_.size();
    clock_.Encode(&clocks_);
    row.clock_size = clocks_.size() - row.clock;
  }
  rows_.push_back(row);
  return SQLITE_OK;
}

FreshRows::Kind FreshRows::Begin(const StateItem& item, const Patch& patch, const Stamp& stamp) {
  if (item.mention) return Kind::kNothing;
  if (item.sequence != 0 || patch.shape != target_->shape || !KeyFits(*target_->table, patch) ||
      patch.operation == Operation::kUpdate || IsParked(patch)) {
    return Kind::kPatches;
  }
  const size_t keys = patch.shape->keys.size();
  const bool shown = patch.operation == Operation::kInsert;
  values_.insert(values_.end(), patch.key, patch.key + keys);
  if (shown)
    values_.insert(values_.end(), patch.values, patch.values + patch.shape->columns.size());
  clock_.Reset();
  clock_.SetLife(stamp, shown, connection_->log.peers());
  return shown ? Kind::kShown : Kind::kDeleted;
}

bool FreshRows::IsParked(const Patch& patch) {
  if (parked_.empty()) return false;
  IdentityOf(*patch.shape, patch.key, &identity_);
  const auto at = std::lower_bound(parked_.begin(), parked_.end(), identity_.span(),
                                   [](const Bytes& a, Span b) { return a.span() < b; });
  return at != parked_.end() && at->span() == identity_.span();
}

// Columns set later than the insert that Begin() has taken.
void FreshRows::Update(const Patch& patch, const Stamp& stamp) {
  const PeerIds& peers = connection_->log.peers();
  Value* columns = values_.data() + values_.size() - patch.shape->columns.size();
  for (size_t i = 0; i < patch.shape->columns.size(); i++) {
    if (!patch.Sets(i)) continue;
    const uint32_t id = target_->table->column_ids[static_cast<size_t>(target_->columns[i])];
    if (peers.Newer(clock_.Of(id), stamp)) continue;
    columns[i] = patch.values[i];
    clock_.SetColumn(id, stamp, peers);
  }
}

int FreshRows::StampOf(const StateItem& item, Stamp* stamp) {
  const Origin*& origin = origins_[item.origin];
  if (origin == nullptr) {
    Origin* found;
    const int rc = items_.OriginOf(chunk_.vector[item.origin].peer, &found);
    if (rc != SQLITE_OK) return rc;
    origin = found;
  }
  *stamp = {item.timestamp, origin->ordinal};
  return SQLITE_OK;
}

// First the clocks: where there is one already, the row is known after all.
int FreshRows::WriteClocks() {
  // A table that is being read would have its cursors moved out of the way for each row.
  connection_->merge->clocks.EndLookUps(connection_);
  connection_->merge->clocks.WrittenPast(connection_);
  if (target_->table->has_ranges) {
    ClockFeed keys(*this, 0);
    const int rc = TouchRanges(connection_, target_->table, &keys);
    if (rc != SQLITE_OK) return rc;
  }
  for (size_t from = 0; from < rows_.size();) {
    ClockFeed feed(*this, from);
    int rc = connection_->Check(BindFeed(&target_->fresh_clocks, 1, &feed));
    if (rc != SQLITE_OK) return rc;
    rc = target_->fresh_clocks.Run();
    if ((rc & 0xff) != SQLITE_CONSTRAINT) return connection_->Check(rc);
    rows_[feed.at()].kind = Kind::kPatches;
    from = feed.at() + 1;
  }
  return SQLITE_OK;
}

// What a constraint refuses is merged as any patch: it finds its own clock, which changes nothing.
int FreshRows::WriteRows() {
  for (size_t from = 0; from < rows_.size();) {
    ShownFeed feed(*this, from);
    int rc = connection_->Check(BindFeed(&target_->fresh_rows, 1, &feed));
    if (rc != SQLITE_OK) return rc;
    rc = target_->fresh_rows.Run();
    if ((rc & 0xff) != SQLITE_CONSTRAINT) return connection_->Check(rc);
    rows_[feed.at()].kind = Kind::kPatches;
    from = feed.at() + 1;
  }
  return SQLITE_OK;
}

int FreshRows::MergePatches() {
  for (const Row& row : rows_) {
    if (row.kind == Kind::kShown || row.kind == Kind::kDeleted) {
      connection_->merge->stats->patches += row.patches;
    }
    if (row.kind != Kind::kPatches) continue;
    Reader in(row.items, chunk_.items.end());
    StateItem item;
    Patch patch;
    do {
      int rc = items_.Next(&in, &item, &patch);
      if (rc == SQLITE_OK) rc = items_.Merge(item, patch);
      if (rc != SQLITE_OK) return rc;
    } while (item.goes_on);
  }
  return SQLITE_OK;
}

}  // namespace mergelite
