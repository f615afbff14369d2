#include "state_absent.h"

#include <algorithm>

#include "connection.h"
#include "table_sql.h"

namespace mergelite {
namespace {

constexpr int kRowsBetweenLooks = 64;  // at the time

bool SameKeys(const Shape& a, const Shape& b) {
  if (a.keys.size() != b.keys.size()) return false;
  for (size_t i = 0; i < a.keys.size(); i++) {
    if (!SameName(a.keys[i].name.c_str(), b.keys[i].name.c_str()) ||
        a.keys[i].collation != b.keys[i].collation) {
      return false;
    }
  }
  return true;
}

}  // namespace

int AbsentRows::Open(Span position) {
  if (chunk_.table.size == 0) return SQLITE_OK;
  const Shape* shape;
  Target* target;
  int rc = connection_->catalog.FindShape(connection_, Hash64(chunk_.shapes[0]), &shape);
  if (rc == SQLITE_OK) rc = ResolveTarget(connection_, shape, &target);
  if (rc != SQLITE_OK || target->table == nullptr) return rc;
  Table* table = target->table;
  uint64_t order = 0;
  rc = KeyOrder(connection_, table, &order);
  if (rc != SQLITE_OK || !SameKeys(*table->shape, *shape) || order != chunk_.order) return rc;
  rc = ResolveTarget(connection_, table->shape, &target_);
  bool any = false;
  if (rc == SQLITE_OK) rc = LookForOwn(position, &any);
  if (rc != SQLITE_OK || any) return rc;
  fresh_ = table;
  target_ = nullptr;
  return SQLITE_OK;
}

bool AbsentRows::LastKey(Span* key) const {
  Reader in(chunk_.items);
  StateItem item, first;
  bool begins = true;
  for (uint64_t i = 0; i < chunk_.item_count; i++) {
    if (!ReadStateItem(&in, chunk_.vector.size(), &item)) return false;
    if (begins) first = item;
    begins = !item.goes_on;
  }
  Reader patch(first.patch);
  patch.Varint();
  const uint8_t* begin = patch.at();
  Value value;
  for (size_t i = 0; i < target_->shape->keys.size(); i++) {
    if (!ReadValue(&patch, &value)) return false;
  }
  *key = {begin, static_cast<size_t>(patch.at() - begin)};
  return true;
}

int AbsentRows::LookForOwn(Span position, bool* any) {
  Span last;
  *any = true;
  if ((chunk_.flags & kStateTableEnds) == 0 && !LastKey(&last)) return SQLITE_OK;
  Statement* rows;
  int rc = Select(position, last, &rows);
  if (rc != SQLITE_OK) return rc;
  rc = rows->Step();
  *any = rc == SQLITE_ROW;
  return connection_->Check(*any ? rows->Reset() : rc);
}

int AbsentRows::Select(Span lower, Span upper, Statement** rows) {
  const Shape& shape = *target_->table->shape;
  Statement& statement = rows_[(lower.size > 0 ? 1 : 0) + (upper.size > 0 ? 2 : 0)];
  *rows = &statement;
  const size_t keys = shape.keys.size();
  if (!statement) {
    Text sql("SELECT _mergelite_clock, "), marks;
    AppendKeyNames(&sql, shape);
    sql << " FROM ";
    AppendClockName(&sql, *target_->table);
    uint64_t parameter = 0;
    for (const bool is_lower : {true, false}) {
      if ((is_lower ? lower : upper).size == 0) continue;
      sql << (parameter == 0 ? " WHERE (" : " AND (");
      AppendKeyNames(&sql, shape);
      sql << (is_lower ? ") > (" : ") <= (");
      for (size_t i = 0; i < keys; i++) sql << (i > 0 ? ", ?" : "?") << ++parameter;
      sql << ")";
    }
    sql << " ORDER BY ";
    AppendKeyNames(&sql, shape);
    const int rc =
        connection_->Check(statement.Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc != SQLITE_OK) return rc;
  }
  int parameter = 0;
  for (const Span bound : {lower, upper}) {
    Reader in(bound);
    for (size_t i = 0; bound.size > 0 && i < keys; i++) {
      Value value;
      if (!ReadValue(&in, &value)) {
        return connection_->Fail("PAYLOAD_CORRUPT", "a key in a chunk of state is damaged",
                                 "The message was damaged on its way or its sender is.");
      }
      statement.Any(++parameter, value);
    }
  }
  return SQLITE_OK;
}

void AbsentRows::ForgetMentioned() {
  mentioned_.clear();
  names_.Clear();
  sorted_ = false;
}

void AbsentRows::Mention(const Shape& shape, const Value* key, bool unborn) {
  if (target_ == nullptr) return;
  IdentityOf(shape, key, &identity_);
  mentioned_.push_back({names_.size(), identity_.size(), unborn});
  names_.Append(identity_.span());
}

const AbsentRows::Mentioned* AbsentRows::FindMentioned(const Table& table, const Value* key) {
  const auto less = [](Span a, Span b) {
    if (a.size != b.size) return a.size < b.size;
    return a.size > 0 && memcmp(a.data, b.data, a.size) < 0;
  };
  const auto name = [this](const Mentioned& one) {
    return Span{names_.data() + one.offset, one.size};
  };
  if (!sorted_) {
    std::sort(mentioned_.begin(), mentioned_.end(),
              [&](const Mentioned& a, const Mentioned& b) { return less(name(a), name(b)); });
    sorted_ = true;
  }
  IdentityOf(*table.shape, key, &identity_);
  const Span wanted = identity_.span();
  const auto at =
      std::lower_bound(mentioned_.begin(), mentioned_.end(), wanted,
                       [&](const Mentioned& one, Span span) { return less(name(one), span); });
  return at != mentioned_.end() && name(*at) == wanted ? &*at : nullptr;
}

int AbsentRows::Drop(Bytes* position, Span last, bool* more) {
  *more = false;
  // A sender that has never forgotten a tombstone has never known what it does not have.
  if (target_ == nullptr || chunk_.swept == 0) return SQLITE_OK;
  Statement* rows;
  int rc = Select(position->span(), last, &rows);
  std::vector<Value> key(target_->table->shape->keys.size());
  // The statement has no copy of its lower bound.
  Bytes reached;
  int looked = 0;
  while (rc == SQLITE_OK && (rc = rows->Step()) == SQLITE_ROW) {
    rc = SQLITE_OK;
    for (size_t i = 0; i < key.size(); i++) rows->ColumnAny(static_cast<int>(i) + 1, &key[i]);
    if (!clock_.Decode(rows->ColumnBytes(0))) continue;
    // An update of a row that was never there is parked, at the sender perhaps without a clock.
    if (clock_.has_life && clock_.alive) {
      const Mentioned* mentioned = FindMentioned(*target_->table, key.data());
      const bool unborn = mentioned != nullptr && mentioned->unborn;
      if (mentioned == nullptr || unborn) rc = DropRow(key, unborn);
      if (rc != SQLITE_OK) return rc;
    }
    if (++looked % kRowsBetweenLooks != 0 || !deadline_.Passed()) continue;
    for (const Value& value : key) AppendValue(&reached, value);
    rc = connection_->Check(rows->Reset());
    position->Swap(reached);
    *more = true;
    return rc;
  }
  return connection_->Check(rc);
}

// As a delete just above everything of the row that the sender has forgotten: what it never knew,
// or still has parked, outlives that as after any delete.
int AbsentRows::DropRow(const std::vector<Value>& key, bool unborn) {
  bool covered;
  int rc = Covered(clock_.life, &covered);
  if (rc != SQLITE_OK || !covered) return rc;
  Stamp newest = clock_.life;
  for (const Override& entry : clock_.overrides) {
    if (unborn) break;
    rc = Covered(entry.stamp, &covered);
    if (rc != SQLITE_OK) return rc;
    if (covered && connection_->log.peers().Newer(entry.stamp, newest)) newest = entry.stamp;
  }
  newest.timestamp++;
  connection_->log.Observe(newest.timestamp);
  Bytes bytes;
  bytes.Varint(PatchHead(0, Operation::kDelete));
  const size_t head = bytes.size();
  for (const Value& value : key) AppendValue(&bytes, value);
  Patch patch;
  patch.operation = Operation::kDelete;
  patch.shape = target_->table->shape;
  patch.encoded_key = {bytes.data() + head, bytes.size() - head};
  patch.key = key.data();
  patch.bytes = bytes.span();
  Origin* origin = connection_->log.FindOrigin(connection_->log.peers().Of(newest.origin));
  return MergePatch(connection_, {origin, 0, newest}, target_, patch);
}

// Whether the sender has merged the changeset of this stamp. An origin's timestamps mostly rise
// with its sequences; but several changesets may share one, rows from before replication have 1,
// and what a migration fills in or a file issues again is stamped by what it was. The log tells of
// all these, as far as it reaches.
int AbsentRows::Covered(const Stamp& stamp, bool* covered) {
  *covered = false;
  const uint64_t peer = connection_->log.peers().Of(stamp.origin);
  const Origin* origin = connection_->log.FindOrigin(peer);
  for (const StateOrigin& known : chunk_.vector) {
    if (known.peer != peer || origin == nullptr) continue;
    if (stamp.timestamp > known.timestamp) return SQLITE_OK;
    const uint64_t last = std::max(origin->merged, origin->reached);
    *covered = known.sequence >= last;
    if (*covered) return SQLITE_OK;
    // What the log does not hold cannot be told apart, and a row too many is better than one lost.
    if (last > origin->merged || origin->trimmed > known.sequence) {
      *covered = stamp.timestamp < known.timestamp && stamp.timestamp > kBeforeAllWrites;
      return SQLITE_OK;
    }
    uint64_t oldest;
    const int rc = OldestUnseen(*origin, known.sequence, &oldest);
    *covered = stamp.timestamp < oldest;
    if (rc != SQLITE_OK || *covered) return rc;
    return LacksUnseen(*origin, known.sequence, stamp.timestamp, covered);
  }
  return SQLITE_OK;
}

// The least timestamp of this origin's changesets behind `sequence`.
int AbsentRows::OldestUnseen(const Origin& origin, uint64_t sequence, uint64_t* timestamp) {
  for (const Unseen& unseen : unseen_) {
    if (unseen.origin == &origin) return *timestamp = unseen.oldest, SQLITE_OK;
  }
  Statement query;
  int rc = connection_->Check(
      query.Prepare(connection_->api, connection_->db,
                    "SELECT coalesce(min(timestamp), 0) FROM main._mergelite_log WHERE id BETWEEN "
                    "?1 AND ?2"));
  if (rc != SQLITE_OK) return rc;
  query.Integer(1, LogBase(origin.ordinal) + static_cast<int64_t>(sequence) + 1);
  query.Integer(2, LogBase(origin.ordinal) + static_cast<int64_t>(origin.merged));
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection_->Check(rc);
  *timestamp = static_cast<uint64_t>(query.ColumnInteger(0));
  unseen_.push_back({&origin, *timestamp});
  return connection_->Check(query.Reset());
}

// Whether no changeset of this origin behind `sequence` has this timestamp.
int AbsentRows::LacksUnseen(const Origin& origin, uint64_t sequence, uint64_t timestamp,
                            bool* lacks) {
  Statement query;
  int rc = connection_->Check(
      query.Prepare(connection_->api, connection_->db,
                    "SELECT NOT EXISTS (SELECT 1 FROM main._mergelite_log WHERE id BETWEEN ?1 AND "
                    "?2 AND timestamp = ?3)"));
  if (rc != SQLITE_OK) return rc;
  query.Integer(1, LogBase(origin.ordinal) + static_cast<int64_t>(sequence) + 1);
  query.Integer(2, LogBase(origin.ordinal) + static_cast<int64_t>(origin.merged));
  query.Integer(3, static_cast<int64_t>(timestamp));
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection_->Check(rc);
  *lacks = query.ColumnInteger(0) != 0;
  return SQLITE_OK;
}

}  // namespace mergelite
