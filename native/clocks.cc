#include "clocks.h"

#include <algorithm>

#include "connection.h"
#include "merge.h"
#include "table_sql.h"

namespace mergelite {
namespace {

// Entries sorted by key before they are written: enough for the B-tree's locality, few enough to
// sort within a millisecond.
constexpr size_t kFoldChunk = 4096;

int CompareKeys(Span a, Span b) {
  Reader left(a), right(b);
  Value x, y;
  while (!left.AtEnd() && !right.AtEnd() && ReadValue(&left, &x) && ReadValue(&right, &y)) {
    if (x.type != y.type) return x.type < y.type ? -1 : 1;
    if (x.type == Type::kInteger && x.integer != y.integer) return x.integer < y.integer ? -1 : 1;
    if (x.type == Type::kReal && x.real != y.real) return x.real < y.real ? -1 : 1;
    const size_t size = std::min(x.content.size, y.content.size);
    const bool content = x.type == Type::kText || x.type == Type::kBlob;
    const int order = content && size > 0 ? memcmp(x.content.data, y.content.data, size) : 0;
    if (order != 0) return order;
    if (content && x.content.size != y.content.size) {
      return x.content.size < y.content.size ? -1 : 1;
    }
  }
  return 0;
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

int Clocks::LookUp(Connection* connection, Table* table, Span identity, const Value* key,
                   RowClock* clock) {
  clock->Reset();
  const PeerIds& peers = connection->log.peers();
  const auto table_id = static_cast<uint32_t>(table->id);
  if (!table->clocks_empty) {
    int rc = PrepareClocks(connection, table);
    if (rc != SQLITE_OK) return rc;
    BindKey(&table->clock_read, key, table->shape->keys.size());
    rc = table->clock_read.Step();
    if (rc == SQLITE_ROW) {
      clock->Decode(table->clock_read.ColumnBytes(0));
      rc = table->clock_read.Reset();
    }
    if (rc != SQLITE_OK) return connection->Check(rc);
  }
  for (const ClockCache* cache : {&frozen_, &active_}) {
    const Span found = cache->Find(table_id, identity);
    if (found.size == 0) continue;
    other_.Decode(found);
    clock->Join(other_, peers);
  }
  return SQLITE_OK;
}

void Clocks::Absorb(Connection* connection, const Target& target, const Patch& patch, Span identity,
                    const Stamp& stamp) {
  const PeerIds& peers = connection->log.peers();
  const auto table_id = static_cast<uint32_t>(target.table->id);
  const Span found = active_.Find(table_id, identity);
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
  scratch_.Clear();
  clock_.Encode(&scratch_);
  active_.Put(table_id, identity, patch.encoded_key, scratch_.span());
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
  frozen_.Swap(active_);
  active_.Clear();
  fold_position_ = 0;
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
      const int rc = FoldChunk(connection);
      if (rc != SQLITE_OK) return rc;
    } while (fold_position_ != 0 && !deadline.Passed());
    if (fold_position_ != 0) return SQLITE_OK;
    // Every clock up to the marks is in the tables now. Until then a crash costs only that clocks
    // are joined a second time.
    for (const FrozenMark& mark : frozen_marks_) {
      if (mark.origin->folded >= mark.sequence) continue;
      mark.origin->folded = mark.sequence;
      mark.origin->dirty = true;
    }
    frozen_.Clear();
    // Until here the clock tables of this generation were written without a look: its rows are
    // distinct.
    for (const auto& table : connection->catalog.tables()) table->clocks_empty = false;
  }
  *done = true;
  return SQLITE_OK;
}

int Clocks::FoldChunk(Connection* connection) {
  std::vector<ClockCache::Entry> entries;
  entries.reserve(kFoldChunk);
  ClockCache::Entry entry;
  size_t position = fold_position_;
  while (entries.size() < kFoldChunk) {
    position = frozen_.Next(position, &entry);
    if (position == 0) break;
    entries.push_back(entry);
  }
  std::sort(entries.begin(), entries.end(),
            [](const ClockCache::Entry& a, const ClockCache::Entry& b) {
              if (a.table != b.table) return a.table < b.table;
              return CompareKeys({a.key.data, a.identity_size}, {b.key.data, b.identity_size}) < 0;
            });
  for (const ClockCache::Entry& sorted : entries) {
    const int rc = FoldEntry(connection, sorted);
    if (rc != SQLITE_OK) return rc;
  }
  fold_position_ = position;
  return SQLITE_OK;
}

int Clocks::FoldEntry(Connection* connection, const ClockCache::Entry& entry) {
  Table* table = connection->catalog.TableById(entry.table);
  if (table == nullptr) return SQLITE_OK;
  int rc = connection->catalog.Check(connection, table);
  if (rc == SQLITE_OK) rc = PrepareClocks(connection, table);
  if (rc != SQLITE_OK) return rc;
  const size_t keys = table->shape->keys.size();
  std::vector<Value>& key = connection->merge->key_scratch;
  key.resize(keys);
  Reader in(entry.key.data + entry.identity_size, entry.key.end());
  for (Value& value : key) ReadValue(&in, &value);
  Span bytes = entry.clock;
  if (!table->clocks_empty) {
    BindKey(&table->clock_read, key.data(), keys);
    rc = table->clock_read.Step();
    if (rc == SQLITE_ROW) {
      clock_.Decode(table->clock_read.ColumnBytes(0));
      other_.Decode(entry.clock);
      clock_.Join(other_, connection->log.peers());
      scratch_.Clear();
      clock_.Encode(&scratch_);
      bytes = scratch_.span();
      rc = table->clock_read.Reset();
    }
    if (rc != SQLITE_OK) return connection->Check(rc);
  }
  BindKey(&table->clock_write, key.data(), keys);
  table->clock_write.Bytes(static_cast<int>(keys) + 1, bytes);
  rc = connection->Check(table->clock_write.Run());
  return rc;
}

void Clocks::Forget(Connection* connection) {
  active_.Clear();
  frozen_.Clear();
  fold_position_ = 0;
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

int FoldEverything(Connection* connection) {
  if (connection->merge == nullptr) connection->merge = std::make_unique<MergeState>();
  Clocks& clocks = connection->merge->clocks;
  const int settled = clocks.SettleDoubt(connection);
  if (settled != SQLITE_OK) return settled;
  clocks.Doubt();
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
