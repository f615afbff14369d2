// One patch against one row: who wins, and what is written.
#include "connection.h"
#include "merge.h"
#include "merge_scope.h"
#include "table_sql.h"
#include "violations.h"
#include "withheld.h"

namespace mergelite {
namespace {

bool Bit(const uint8_t* bitmap, size_t index) {
  return (bitmap[index / 8] >> (index % 8) & 1) != 0;
}
// The timestamp of rows that replication found in their table.
constexpr uint64_t kBeforeReplication = 1;

void SetBit(uint8_t* bitmap, size_t index) {
  bitmap[index / 8] |= static_cast<uint8_t>(1u << (index % 8));
}

class RowMerge {
 public:
  RowMerge(Connection* connection, const Incoming& incoming, Target* target, const Patch& patch,
           const HashedRow& row)
      : connection_(connection),
        merge_(*connection->merge),
        incoming_(incoming),
        target_(*target),
        table_(target->table),
        patch_(patch),
        row_(row),
        peers_(connection->log.peers()) {}

  int Run() {
    if (table_ == nullptr) return ParkWhole(Reason::kTable);
    if (!KeyFits(*table_, patch_)) return ParkWhole(Reason::kKey, "datatype mismatch");
    if (WinsUnseen()) {
      const int rc = RunUnseen();
      if (rc != SQLITE_NOTFOUND) return rc;
    }
    if (LosesUnseen()) return Lost(), SQLITE_OK;
    int rc = merge_.clocks.LookUp(connection_, table_, row_, patch_.key, &merge_.clock);
    if (rc == SQLITE_OK) rc = HeldFor(connection_, *table_, Identity(), &held_);
    if (rc != SQLITE_OK) return rc;
    if (table_->has_unique_indexes || held_ != 0) AskToSettle(table_, Identity());
    if (held_ == BitOf(Reason::kCheck)) Doubt();
    return RunSeen();
  }

 private:
  // A stamp above all others, or above those of the row, wins whatever the row's clock is: there is
  // no need to look. Only whether the row is there has to be known, and the table itself tells.
  // What is parked may say otherwise.
  bool WinsUnseen() {
    if (!target_.knows_all_columns || AnyParked(connection_)) return false;
    const bool insert = patch_.operation == Operation::kInsert;
    if (table_->has_user_triggers && !insert) return false;
    if (incoming_.newest) return true;
    // An insert looks: it may tell of two rows that have become one.
    return incoming_.in_order && !insert &&
           !merge_.clocks.MayReach(connection_, row_, incoming_.stamp.timestamp);
  }

  // What loses against what memory holds of the row has lost. Where nothing is parked, the row of
  // a newer update was there, or has been deleted since by what is newer still. An insert looks.
  bool LosesUnseen() {
    if (!incoming_.in_order || !target_.knows_all_columns || AnyParked(connection_)) return false;
    return patch_.operation != Operation::kInsert &&
           merge_.clocks.KnowsNewer(connection_, target_, patch_, row_, incoming_.stamp);
  }

  // SQLITE_NOTFOUND when the row to be updated is not there, and nothing was done.
  int RunUnseen() {
    if (table_->has_unique_indexes) AskToSettle(table_, Identity());
    clock().Reset();
    clock().has_life = clock().alive = patch_.operation != Operation::kInsert;
    unseen_ = true;
    const int rc = RunSeen();
    unseen_ = false;
    return rc;
  }

  int RunSeen() {
    int rc = SQLITE_OK;
    switch (patch_.operation) {
      case Operation::kInsert:
        rc = Insert();
        break;
      case Operation::kUpdate:
        rc = Update();
        break;
      case Operation::kDelete:
        rc = Delete();
        break;
    }
    return rc;
  }

  Span Identity() const { return row_.identity; }
  RowClock& clock() { return merge_.clock; }
  void Absorb() { merge_.clocks.Absorb(connection_, target_, patch_, row_, incoming_.stamp); }
  void Lost() { merge_.stats->lost++; }
  bool withheld() const { return (held_ & kWithheldBits) != 0; }
  void Doubt() { AddDoubt(connection_, incoming_, table_, Identity(), patch_.encoded_key); }
  int ParkWhole(Reason reason, const char* detail = "") {
    return Park(connection_, incoming_, *patch_.shape, {Identity(), reason, detail}, patch_.bytes);
  }

  // Most likely two peers counted 1, 2, 3 each on their own, and two rows have become one. Rows
  // that were there before replication are the same on copies of one file. An insert that wins
  // unseen is not looked at; the peer that wrote it sees the other one, which is older.
  void LookForCollision() {
    const Stamp& life = clock().life;
    if (!clock().has_life || !clock().alive || life.origin == incoming_.stamp.origin) return;
    if (life.timestamp <= kBeforeReplication || incoming_.stamp.timestamp <= kBeforeReplication) {
      return;
    }
    if (IsOwn(life.origin) && IsOwn(incoming_.stamp.origin)) return;
    MergeStats& stats = *merge_.stats;
    stats.key_collisions++;
    if (stats.collisions.size() >= MergeStats::kCollisionsTold) return;
    stats.collisions.push_back({});
    MergeStats::Collision& told = stats.collisions.back();
    told.table = table_->name.Copy();
    told.identity.Append(Identity());
    told.peer = peers_.Of(incoming_.stamp.origin);
    told.other = peers_.Of(life.origin);
  }

  int Insert() {
    LookForCollision();
    if (clock().has_life && peers_.Newer(clock().life, incoming_.stamp)) return Lost(), SQLITE_OK;
    if (withheld()) return Withhold();
    bool was_alive = clock().alive;
    int rc = SQLITE_OK;
    // One that waited for its table may stand in the clock, read from the log since, while the row
    // is not there.
    if (was_alive && clock().life == incoming_.stamp) {
      rc = RowExists(connection_, table_, patch_.key, &was_alive);
      if (rc != SQLITE_OK) return rc;
    }
    Bytes& columns = merge_.columns;
    AllColumns(&columns);
    // A column that was set later than this insert keeps its value; a row that is not shown is
    // written whole, and what is parked for it comes after.
    for (size_t i = 0; was_alive && i < table_->column_ids.size(); i++) {
      if (peers_.Newer(clock().Of(table_->column_ids[i]), incoming_.stamp)) {
        columns.data()[i / 8] &= static_cast<uint8_t>(~(1u << (i % 8)));
      }
    }
    rc = Write(true, columns);
    if (rc != SQLITE_OK) return rc;
    Absorb();
    if (!target_.knows_all_columns) rc = ParkUnknownColumns();
    if (rc == SQLITE_OK && !was_alive && AnyParked(connection_)) {
      Bytes identity;
      identity.Append(Identity());
      rc = MergeParked(connection_, table_, identity.span(), incoming_.stamp);
    }
    return rc;
  }

  int Update() {
    if (!clock().has_life || (!clock().alive && peers_.Newer(incoming_.stamp, clock().life))) {
      Absorb();
      return ParkWhole(Reason::kRow);
    }
    if (!clock().alive) return Lost(), SQLITE_OK;
    Bytes& columns = merge_.columns;
    ClearColumns(&columns);
    bool wins = false, unknown = false;
    for (size_t i = 0; i < patch_.shape->columns.size(); i++) {
      if (!patch_.Sets(i)) continue;
      if (target_.columns[i] < 0) {
        unknown = true;
        continue;
      }
      const auto column = static_cast<size_t>(target_.columns[i]);
      if (peers_.Newer(clock().Of(table_->column_ids[column]), incoming_.stamp)) continue;
      SetBit(columns.data(), column);
      wins = true;
    }
    int rc = SQLITE_OK;
    if (wins && withheld()) return Withhold();
    if (wins) {
      rc = Write(false, columns);
      if (rc != SQLITE_OK) return rc;
      Absorb();
    } else if (!unknown) {
      Lost();
    }
    return unknown ? ParkUnknownColumns() : rc;
  }

  int Delete() {
    if (clock().has_life && peers_.Newer(clock().life, incoming_.stamp)) return Lost(), SQLITE_OK;
    int rc = SQLITE_OK;
    // A delete that waited for its table may stand in the clock, read from the log since, while the
    // row is still there.
    if (clock().alive || (clock().has_life && clock().life == incoming_.stamp)) {
      if (clock().alive) rc = ParkSurvivors();
      if (rc == SQLITE_OK) rc = Remove();
      if (rc != SQLITE_OK) return rc;
    }
    Absorb();
    if (AnyParked(connection_)) {
      rc = DropParkedBefore(connection_, *table_, Identity(), incoming_.stamp, true);
    }
    // What is newer than the delete waits for the row to be inserted again.
    if (rc == SQLITE_OK && withheld()) {
      rc = ChangeReason(connection_, *table_, {Identity(), Reason::kRow});
    }
    return rc;
  }

  // The row is alive but not in the table: what changes it joins the patches that wait for it.
  int Withhold() {
    Absorb();
    if (patch_.operation == Operation::kInsert) {
      const int rc = DropParkedBefore(connection_, *table_, Identity(), incoming_.stamp, false);
      if (rc != SQLITE_OK) return rc;
    }
    int rc = ParkWhole(static_cast<Reason>(__builtin_ctz(held_)));
    if (rc == SQLITE_OK && !target_.knows_all_columns) rc = ParkUnknownColumns();
    return rc;
  }

  int Remove() {
    int rc = PrepareRemove(connection_, table_);
    if (rc != SQLITE_OK) return rc;
    BindKey(&table_->remove, patch_.key, patch_.shape->keys.size());
    return connection_->Check(merge_.scope->Run(*table_, Identity(), &table_->remove));
  }

  // Columns set later than this delete outlive it: were the row inserted again with a stamp between
  // the two, they would show. Their values leave the table now, so they wait as parked patches.
  int ParkSurvivors() {
    bool any = false;
    for (const Override& entry : clock().overrides) {
      if (peers_.Newer(entry.stamp, incoming_.stamp)) any = true;
    }
    if (!any) return SQLITE_OK;
    int rc = PrepareReadRow(connection_, table_);
    if (rc != SQLITE_OK) return rc;
    BindKey(&table_->read_row, patch_.key, table_->shape->keys.size());
    const ResetAtEnd reset(&table_->read_row);
    rc = table_->read_row.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    for (size_t i = 0; i < table_->column_ids.size(); i++) {
      const Stamp stamp = clock().Of(table_->column_ids[i]);
      if (!peers_.Newer(stamp, incoming_.stamp)) continue;
      Value value;
      table_->read_row.ColumnAny(static_cast<int>(i), &value);
      Bytes bitmap;
      ClearColumns(&bitmap);
      SetBit(bitmap.data(), i);
      Bytes patch;
      patch.Varint(PatchHead(0, Operation::kUpdate));
      patch.Append(patch_.encoded_key);
      patch.Append(bitmap.span());
      AppendValue(&patch, value);
      Origin* origin = connection_->log.FindOrigin(peers_.Of(stamp.origin));
      const Incoming survivor{origin, 0, stamp};
      rc = Park(connection_, survivor, *table_->shape, {Identity(), Reason::kRow}, patch.span());
      if (rc != SQLITE_OK) return rc;
    }
    return connection_->Check(table_->read_row.Reset());
  }

  // Of an insert or update, the columns this table does not have yet: as an update, so that merging
  // it later touches nothing else.
  int ParkUnknownColumns() {
    const Shape& shape = *patch_.shape;
    bool any = false;
    Bytes patch, values;
    const size_t bytes = shape.bitmap_bytes();
    patch.Varint(PatchHead(0, Operation::kUpdate));
    patch.Append(patch_.encoded_key);
    const size_t bitmap = patch.size();
    memset(patch.Reserve(bytes), 0, bytes);
    patch.Advance(bytes);
    for (size_t i = 0; i < shape.columns.size(); i++) {
      if (!patch_.Sets(i) || target_.columns[i] >= 0) continue;
      any = true;
      SetBit(patch.data() + bitmap, i);
      AppendValue(&values, patch_.values[i]);
    }
    if (!any) return SQLITE_OK;
    patch.Append(values.span());
    return Park(connection_, incoming_, shape, {Identity(), Reason::kColumn}, patch.span());
  }

  void ClearColumns(Bytes* columns) const {
    const size_t bytes = table_->shape->bitmap_bytes();
    columns->Clear();
    memset(columns->Reserve(bytes + 1), 0, bytes + 1);
    columns->Advance(bytes);
  }
  void AllColumns(Bytes* columns) const {
    ClearColumns(columns);
    for (size_t i = 0; i < table_->shape->columns.size(); i++) SetBit(columns->data(), i);
  }

  // Writes the columns of `columns`: as an insert that updates what is there, or as an update.
  int Write(bool insert, const Bytes& columns) {
    Target::Write* write = nullptr;
    int rc = FindWrite(connection_, &target_, insert, columns, &write);
    if (rc != SQLITE_OK) return rc;
    Statement& statement = write->statement;
    const size_t keys = patch_.shape->keys.size();
    BindKey(&statement, patch_.key, keys);
    int index = static_cast<int>(keys);
    for (size_t i = 0; i < patch_.shape->columns.size(); i++) {
      if (target_.columns[i] < 0) continue;
      const auto column = static_cast<size_t>(target_.columns[i]);
      if (!insert && !Bit(columns.data(), column)) continue;
      statement.Any(++index, patch_.values[i]);
    }
    rc = merge_.scope->Run(*table_, Identity(), &statement);
    // What is written from here on would stay by itself.
    if (merge_.scope->undone()) return connection_->Check(rc);
    if ((rc & 0xff) == SQLITE_CONSTRAINT) rc = OnConstraint(&statement);
    if (rc == SQLITE_CONSTRAINT) return SQLITE_OK;  // withheld
    // A row that a trigger has removed is alive but not there: its updates wait.
    if (rc == SQLITE_OK && !insert && connection_->api->changes(connection_->db) == 0) {
      if (unseen_) return SQLITE_NOTFOUND;
      return ParkWhole(Reason::kRow);
    }
    return connection_->Check(rc);
  }

  // SQLITE_OK when the row could be written after all, SQLITE_CONSTRAINT when it is withheld.
  int OnConstraint(Statement* statement) {
    int code = connection_->api->extended_errcode(connection_->db);
    Text message(connection_->api->errmsg(connection_->db));
    if (code == SQLITE_CONSTRAINT_CHECK) {
      const int rc =
          RunWithoutChecks(connection_, *table_, {Identity(), statement}, &code, &message);
      if (rc == SQLITE_OK) Doubt();
      if (merge_.scope->undone()) return SQLITE_ABORT;
      if ((rc & 0xff) != SQLITE_CONSTRAINT) return rc;
    }
    const Reason reason = WithholdingReason(code);
    int rc = WithholdRow(connection_, table_, {Identity(), reason, message.c_str()}, patch_.key,
                         patch_.encoded_key);
    if (rc == SQLITE_OK) rc = ParkWhole(reason, message.c_str());
    AskToSettle(table_, Identity());
    return rc == SQLITE_OK ? SQLITE_CONSTRAINT : rc;
  }

  Connection* connection_;
  MergeState& merge_;
  const Incoming& incoming_;
  Target& target_;
  Table* table_;
  const Patch& patch_;
  const HashedRow& row_;
  const PeerIds& peers_;
  uint8_t held_ = 0;  // the reason for which the row is held, as a bit
  bool unseen_ = false;
};

}  // namespace

void IdentityOf(const Shape& shape, const Value* key, Bytes* out) {
  out->Clear();
  for (size_t i = 0; i < shape.keys.size(); i++) {
    AppendIdentity(out, key[i], shape.keys[i].collation);
  }
}

bool KeyFits(const Table& table, const Patch& patch) {
  return !table.integer_key || patch.key[0].type == Type::kInteger;
}

int MergePatch(Connection* connection, const Incoming& incoming, Target* target,
               const Patch& patch) {
  Bytes* identity = &connection->merge->identity;
  IdentityOf(*patch.shape, patch.key, identity);
  const Table* table = target->table;
  const HashedRow row =
      table == nullptr ? HashedRow(0, identity->span()) : Clocks::Hashed(*table, identity->span());
  return RowMerge(connection, incoming, target, patch, row).Run();
}

}  // namespace mergelite
