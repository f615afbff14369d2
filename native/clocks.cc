#include "clocks.h"

#include "connection.h"
#include "merge.h"
#include "parked.h"
#include "ranges.h"
#include "table_sql.h"

namespace mergelite {
namespace {

// The rows that one statement writes into a clock table.
class FoldFeed final : public Feed {
 public:
  FoldFeed(const ClockCache::Entry* begin, const ClockCache::Entry* end, std::vector<Value>* values)
      : at_(begin), end_(end), values_(*values) {}

  bool Next() override {
    if (at_ == end_) return false;
    Reader key(at_->key);
    const size_t keys = values_.size() - 1;
    for (size_t i = 0; i < keys; i++) ReadValue(&key, &values_[i]);
    values_[keys].type = Type::kBlob;
    values_[keys].content = at_->clock;
    at_++;
    return true;
  }
  const Value& Column(size_t index) const override { return values_[index]; }

 private:
  const ClockCache::Entry* at_;
  const ClockCache::Entry* end_;
  std::vector<Value>& values_;
};

int FoldRun(Connection* connection, Table* table, const ClockCache::Entry* begin,
            const ClockCache::Entry* end) {
  int rc = connection->catalog.Check(connection, table);
  if (rc == SQLITE_OK) rc = PrepareClocks(connection, table);
  if (rc != SQLITE_OK) return rc;
  std::vector<Value>& values = connection->merge->key_scratch;
  values.resize(table->shape->keys.size() + 1);
  if (table->has_ranges) {
    FoldFeed keys(begin, end, &values);
    rc = TouchRanges(connection, table, &keys);
    if (rc != SQLITE_OK) return rc;
  }
  FoldFeed feed(begin, end, &values);
  BindFeed(&table->clock_write, 1, &feed);
  return connection->Check(table->clock_write.Run());
}

}  // namespace

Deadline::Deadline(const Connection* connection, double budget_ms) : connection_(connection) {
  end_ms_ = Now() + static_cast<int64_t>(budget_ms < 1 ? 1 : budget_ms);
}

int64_t Deadline::Now() const {
  if (connection_->fixed_clock_ms != 0) return looks_++;
  sqlite3_vfs* vfs = connection_->api->vfs_find(nullptr);
  sqlite3_int64 now = 0;
  vfs->xCurrentTimeInt64(vfs, &now);
  return now;
}

bool Deadline::Passed() const { return Now() >= end_ms_; }

HashedRow Clocks::Hashed(const Table& table, Span identity) {
  return {static_cast<uint32_t>(table.id), identity};
}

int Clocks::LookUp(Connection* connection, Table* table, const HashedRow& row, const Value* key,
                   RowClock* clock) {
  clock->Reset();
  const PeerIds& peers = connection->log.peers();
  if (!table->clocks_empty) {
    const int rc = ReadTable(connection, table, key, clock);
    if (rc != SQLITE_OK) return rc;
  }
  for (const ClockCache* cache : {&frozen_, &active_}) {
    const Span found = cache->Find(row);
    if (found.size == 0) continue;
    other_.Decode(found);
    clock->Join(other_, peers);
  }
  return SQLITE_OK;
}

// The statement stays where it is, ready for the next key.
int Clocks::ReadTable(Connection* connection, Table* table, const Value* key, RowClock* clock) {
  int rc = PrepareClocks(connection, table);
  if (rc != SQLITE_OK) return rc;
  reads_++;
  table->clock_key.Point(key);
  if (!table->clock_reading) {
    table->clock_reading = true;
    reading_ = true;
  }
  rc = table->clock_read.Step();
  if (rc != SQLITE_ROW) {
    table->clock_reading = false;
    return connection->Check(rc == SQLITE_OK ? SQLITE_INTERNAL : rc);
  }
  const Span found = table->clock_read.ColumnBytes(0);
  if (found.size > 0) clock->Decode(found);
  // Outside a merge nobody would end it, and it keeps the WAL from being reset.
  if (connection->merge->scope == nullptr) EndLookUps(connection);
  return SQLITE_OK;
}

void Clocks::EndLookUps(Connection* connection) {
  if (!reading_) return;
  reading_ = false;
  for (const auto& table : connection->catalog.tables()) {
    if (table->clock_reading) table->clock_read.Reset();
    table->clock_reading = false;
  }
}

// Another connection may have folded what was never absorbed here, and dropped what was.
void Clocks::LookAtLoads(Connection* connection) {
  const Log& log = connection->log;
  if (recent_loads_ == log.loads()) return;
  WrittenPast(connection);
  recent_loads_ = log.loads();
}

bool Clocks::MayReach(Connection* connection, const HashedRow& row, uint64_t timestamp) {
  LookAtLoads(connection);
  return recent_.MayReach(row.hash, timestamp);
}

bool Clocks::KnowsNewer(Connection* connection, const Target& target, const Patch& patch,
                        const HashedRow& row, const Stamp& stamp) {
  LookAtLoads(connection);
  const PeerIds& peers = connection->log.peers();
  clock_.Reset();
  for (const ClockCache* cache : {&active_, &frozen_, &folded_}) {
    const Span found = cache->Find(row);
    if (found.size == 0) continue;
    other_.Decode(found);
    clock_.Join(other_, peers);
  }
  if (clock_.has_life && peers.Newer(clock_.life, stamp)) return true;
  if (patch.operation != Operation::kUpdate || clock_.overrides.empty()) return false;
  for (size_t i = 0; i < patch.shape->columns.size(); i++) {
    if (!patch.Sets(i)) continue;
    const uint32_t id = target.table->column_ids[static_cast<size_t>(target.columns[i])];
    if (!peers.Newer(clock_.Of(id), stamp)) return false;
  }
  return true;
}

void Clocks::WrittenPast(Connection* connection) {
  recent_.Raise(connection->log.newest_timestamp());
  folded_.Clear();
}

Span Clocks::JoinEncoded(const PeerIds& peers, Span a, Span b) {
  clock_.Decode(a);
  other_.Decode(b);
  clock_.Join(other_, peers);
  scratch_.Clear();
  clock_.Encode(&scratch_);
  return scratch_.span();
}

void Clocks::Absorb(Connection* connection, const Target& target, const Patch& patch,
                    const HashedRow& row, const Stamp& stamp) {
  // From here on, not from the first question on, its rows are known.
  LookAtLoads(connection);
  const PeerIds& peers = connection->log.peers();
  const Span found = active_.Find(row);
  clock_.Reset();
  if (found.size > 0) clock_.Decode(found);
  if (patch.operation == Operation::kUpdate) {
    for (size_t i = 0; i < patch.shape->columns.size(); i++) {
      if (!patch.Sets(i) || target.columns[i] < 0) continue;
      clock_.SetColumn(target.table->column_ids[static_cast<size_t>(target.columns[i])], stamp,
                       peers);
    }
    // An update of unknown columns alone leaves no trace: it is parked.
    if (!clock_.has_life && clock_.overrides.empty()) return;
  } else {
    clock_.SetLife(stamp, patch.operation == Operation::kInsert, peers);
  }
  recent_.Add(row.hash, stamp.timestamp);
  scratch_.Clear();
  clock_.Encode(&scratch_);
  active_.Put(row, patch.encoded_key, scratch_.span());
}

int Clocks::AbsorbTail(Connection* connection, const Deadline& deadline, bool* done) {
  *done = true;
  for (auto& origin : connection->log.origins()) {
    if (origin->absorbed >= origin->merged) continue;
    int failure = SQLITE_OK;
    int since_check = 0;
    const int rc = connection->log.ForEach(connection, *origin, origin->absorbed, origin->merged,
                                           [&](const Record& record) {
                                             failure = AbsorbChangeset(connection, *origin, record);
                                             if (failure != SQLITE_OK) return false;
                                             origin->absorbed = record.sequence;
                                             if (Full()) return false;
                                             return ++since_check % 16 != 0 || !deadline.Passed();
                                           });
    if (failure != SQLITE_OK) return failure;
    if (rc != SQLITE_OK) return connection->Check(rc);
    if (origin->absorbed < origin->merged) *done = false;
    if (!*done) return SQLITE_OK;
  }
  return SQLITE_OK;
}

void Clocks::Freeze(Connection* connection) {
  folded_.Clear();
  frozen_.Swap(active_);
  active_.Clear();
  fold_order_.Start(&frozen_);
  frozen_marks_.clear();
  for (auto& origin : connection->log.origins()) {
    frozen_marks_.push_back({origin.get(), origin->absorbed});
  }
}

int Clocks::Fold(Connection* connection, const Deadline& deadline, bool all, bool* done) {
  *done = false;
  for (;;) {
    if (frozen_.empty()) {
      if (active_.empty() || (!all && active_.bytes() < kCacheBytesMax)) break;
      Freeze(connection);
    }
    do {
      const int rc = FoldPiece(connection);
      if (rc != SQLITE_OK) return rc;
    } while (!fold_order_.done() && !deadline.Passed());
    if (!fold_order_.done()) return SQLITE_OK;
    // Every clock up to the marks is in the tables now. Until then a crash costs only that clocks
    // are joined a second time.
    for (const FrozenMark& mark : frozen_marks_) {
      if (mark.origin->folded >= mark.sequence) continue;
      mark.origin->folded = mark.sequence;
      mark.origin->dirty = true;
    }
    fold_order_.Clear();
    folded_.Swap(frozen_);
    frozen_.Clear();
    // That of a large changeset may be far beyond what a generation takes.
    if (folded_.bytes() > 2 * kCacheBytesMax) folded_.Clear();
    // Until here the clock tables of this generation were written without a look: its rows are
    // distinct.
    for (const auto& table : connection->catalog.tables()) table->clocks_empty = false;
  }
  // What asks for that is about to change clocks itself, or to leave the connection alone.
  if (all) folded_.Clear();
  *done = true;
  return SQLITE_OK;
}

int Clocks::FoldRow(Connection* connection, Table* table, Span identity, Span key) {
  const HashedRow row = Hashed(*table, identity);
  const Span found = active_.Find(row);
  if (found.size == 0) return SQLITE_OK;
  EndLookUps(connection);
  const ClockCache::Entry entry{row.table, identity, key, found};
  table->clocks_empty = false;
  return FoldRun(connection, table, &entry, &entry + 1);
}

int Clocks::FoldLarge(Connection* connection) {
  const Deadline never(connection, 1e15);
  bool done;
  return Fold(connection, never, false, &done);
}

int Clocks::FoldPiece(Connection* connection) {
  // A table that is being read would have its cursors moved out of the way for each row.
  EndLookUps(connection);
  std::vector<ClockCache::Entry> piece;
  fold_order_.Read(&piece);
  const ClockCache::Entry* end = piece.data() + piece.size();
  for (const ClockCache::Entry* begin = piece.data(); begin != end;) {
    const ClockCache::Entry* next = begin;
    while (next != end && next->table == begin->table) next++;
    Table* table = connection->catalog.TableById(begin->table);
    const int rc = table == nullptr ? SQLITE_OK : FoldRun(connection, table, begin, next);
    if (rc != SQLITE_OK) return rc;
    begin = next;
  }
  fold_order_.Skip();
  return SQLITE_OK;
}

void Clocks::Forget(Connection* connection) {
  EndLookUps(connection);
  active_.Clear();
  fold_order_.Clear();
  frozen_.Clear();
  folded_.Clear();
  frozen_marks_.clear();
  for (const auto& table : connection->catalog.tables()) table->clocks_empty = false;
  for (auto& origin : connection->log.origins()) origin->absorbed = 0;
}

int Clocks::SettleDoubt(Connection* connection) {
  if (!doubtful_) return SQLITE_OK;
  doubtful_ = false;
  Forget(connection);
  connection->log.Invalidate();
  return connection->log.Refresh(connection);
}

Span JoinEncodedClocks(Connection* connection, Span a, Span b) {
  if (connection->merge == nullptr) connection->merge = std::make_unique<MergeState>();
  return connection->merge->clocks.JoinEncoded(connection->log.peers(), a, b);
}

int FoldEverything(Connection* connection) {
  if (connection->merge == nullptr) connection->merge = std::make_unique<MergeState>();
  Clocks& clocks = connection->merge->clocks;
  const int settled = clocks.SettleDoubt(connection);
  // Also when that failed: what it read so far is as unsure.
  clocks.Doubt();
  if (settled != SQLITE_OK) return settled;
  const int looked = LookForParked(connection);
  if (looked != SQLITE_OK) return looked;
  const Deadline never(connection, 1e15);
  for (;;) {
    bool absorbed, folded;
    int rc = clocks.AbsorbTail(connection, never, &absorbed);
    if (rc == SQLITE_OK) rc = clocks.Fold(connection, never, true, &folded);
    if (rc != SQLITE_OK) return rc;
    if (absorbed && folded) return connection->log.SaveOrigins(connection);
  }
}

}  // namespace mergelite
