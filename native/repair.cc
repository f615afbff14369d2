#include "repair.h"

#include "connection.h"
#include "merge_scope.h"
#include "slice_writer.h"
#include "state.h"
#include "state_items.h"
#include "state_rows.h"
#include "table_sql.h"
#include "trim.h"
#include "withheld.h"

namespace mergelite {
namespace {

int KeyDamaged(Connection* connection) {
  return connection->Fail("KEY_MALFORMED", "a key is damaged",
                          "The peer that sent it is damaged, or speaks another protocol.");
}

int OpenTable(Connection* connection, const char* name, Table** table) {
  *table = connection->catalog.FindTable(name);
  if (*table != nullptr && (*table)->active) return connection->catalog.Check(connection, *table);
  Text message("table ");
  message.Name(name) << " is not replicated here";
  return connection->Fail("TABLE_NOT_REPLICATED", message, "See `mergelite status`.");
}

// Keys, each with its length before it.
class KeyList {
 public:
  KeyList(const Table& table, Span keys) : in_(keys), values_(table.shape->keys.size()) {}

  // False at the end and on bytes that make no sense; tell them apart by ok().
  bool Next() {
    if (in_.AtEnd()) return false;
    Reader key(in_.Take(in_.Varint()));
    ok_ = in_.ok();
    for (size_t i = 0; ok_ && i < values_.size(); i++) {
      ok_ = ReadValue(&key, &values_[i]) && values_[i].type != Type::kNull;
    }
    ok_ = ok_ && key.AtEnd();
    return ok_;
  }
  bool ok() const { return ok_; }
  const std::vector<Value>& values() const { return values_; }

 private:
  Reader in_;
  std::vector<Value> values_;
  bool ok_ = true;
};

// What this file has of a row.
struct Standing {
  RowClock clock;
  bool shown = false;
  Bytes key;     // as the table spells it
  Bytes values;  // of all columns
  std::vector<size_t> ends;

  Span Of(size_t column) const {
    const size_t start = column == 0 ? 0 : ends[column - 1];
    return {values.data() + start, ends[column] - start};
  }
};

class RowRepair {
 public:
  RowRepair(Connection* connection, Table* table) : connection_(connection), table_(table) {}

  int TakeAll(const StateChunk& chunk, StateItems* items, uint64_t* taken) {
    Reader in(chunk.items);
    while (!in.AtEnd()) {
      const int rc = Take(&in, items, taken);
      if (rc != SQLITE_OK) return rc;
    }
    return SQLITE_OK;
  }

  // Rows that a table shows and no clock calls alive were written while nobody captured.
  int Adopt(Span keys) {
    KeyList list(*table_, keys);
    while (list.Next()) {
      Standing now;
      const int rc = Look(list.values().data(), &now);
      if (rc != SQLITE_OK) return rc;
      if (!now.shown || now.clock.alive) continue;
      StartPatch(Operation::kInsert, now)->Append(now.values.span());
    }
    return list.ok() ? SQLITE_OK : KeyDamaged(connection_);
  }

  int WriteAnew(uint64_t* rewritten) {
    SliceWriter writer(connection_, table_->shape->hash, 0);
    writer.Tick();
    int rc = SQLITE_OK;
    for (const Bytes& patch : patches_) {
      writer.body()->Append(patch.span());
      rc = writer.Added();
      if (rc != SQLITE_OK) return rc;
    }
    *rewritten = writer.patches();
    return writer.Write();
  }

 private:
  // One row's items, by the rules of any patch: at equal stamps what comes later stays.
  int Take(Reader* in, StateItems* items, uint64_t* taken) {
    StateItem item;
    Patch patch;
    Standing before, after;
    bool first = true, known = false;
    int rc;
    do {
      rc = items->Next(in, &item, &patch);
      if (rc != SQLITE_OK) return rc;
      if (first) {
        known = patch.shape->keys.size() == table_->shape->keys.size() && KeyFits(*table_, patch);
        key_.assign(patch.key, patch.key + patch.shape->keys.size());
        if (known) rc = Look(key_.data(), &before);
        if (rc == SQLITE_OK && known && !item.mention) rc = ForgetUnshown(&before);
        if (rc != SQLITE_OK) return rc;
        first = false;
      }
      // A row that nobody captured is in no delete's place to take.
      const bool stays = before.shown && !before.clock.alive;
      if (stays && patch.operation == Operation::kDelete) continue;
      rc = items->Merge(item, patch);
      if (rc != SQLITE_OK) return rc;
    } while (item.goes_on);
    if (!known) return SQLITE_OK;
    rc = Look(key_.data(), &after);
    if (rc != SQLITE_OK) return rc;
    if (Differ(before, after)) (*taken)++;
    RewriteTies(before, after);
    return SQLITE_OK;
  }

  int Look(const Value* key, Standing* row) {
    IdentityOf(*table_->shape, key, &identity_);
    int rc =
        connection_->merge->clocks.LookUp(connection_, table_, identity_.span(), key, &row->clock);
    if (rc == SQLITE_OK) rc = PrepareReadRow(connection_, table_);
    if (rc != SQLITE_OK) return rc;
    BindKey(&table_->read_row, key, table_->shape->keys.size());
    const ResetAtEnd reset(&table_->read_row);
    rc = table_->read_row.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    row->shown = true;
    Value value;
    const size_t columns = table_->shape->columns.size();
    for (size_t i = 0; i < columns; i++) {
      table_->read_row.ColumnAny(static_cast<int>(i), &value);
      AppendValue(&row->values, value);
      row->ends.push_back(row->values.size());
    }
    for (size_t i = 0; i < table_->shape->keys.size(); i++) {
      table_->read_row.ColumnAny(static_cast<int>(columns + i), &value);
      AppendValue(&row->key, value);
    }
    return SQLITE_OK;
  }

  // A clock whose row is gone says nothing that a peer with the row would not say better.
  int ForgetUnshown(Standing* row) {
    if (row->shown || !row->clock.alive) return SQLITE_OK;
    uint8_t held;
    int rc = HeldFor(connection_, *table_, identity_.span(), &held);
    if (rc != SQLITE_OK || (held & kWithheldBits) != 0) return rc;
    Text sql("DELETE FROM ");
    AppendClockName(&sql, *table_);
    sql << " WHERE ";
    AppendKeyCondition(&sql, *table_->shape);
    connection_->merge->clocks.EndLookUps(connection_);
    connection_->merge->clocks.WrittenPast(connection_);
    Statement statement;
    rc = connection_->Check(statement.Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc != SQLITE_OK) return rc;
    BindKey(&statement, key_.data(), key_.size());
    row->clock.Reset();
    return connection_->Check(statement.Run());
  }

  static bool Differ(const Standing& a, const Standing& b) {
    if (a.shown != b.shown || !(a.values.span() == b.values.span())) return true;
    return a.clock.alive != b.clock.alive || !(a.clock.life == b.clock.life) ||
           a.clock.overrides.size() != b.clock.overrides.size();
  }

  // Values that have changed under the stamp they had: other peers may hold either of them.
  void RewriteTies(const Standing& before, const Standing& after) {
    if (!before.shown || !after.shown || !before.clock.alive || !after.clock.alive) return;
    const Shape& shape = *table_->shape;
    Bytes bitmap, values;
    memset(bitmap.Reserve(shape.bitmap_bytes() + 1), 0, shape.bitmap_bytes() + 1);
    bitmap.Advance(shape.bitmap_bytes());
    for (size_t i = 0; i < shape.columns.size(); i++) {
      const uint32_t id = table_->column_ids[i];
      if (!(before.clock.Of(id) == after.clock.Of(id)) || before.Of(i) == after.Of(i)) continue;
      bitmap.data()[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
      values.Append(after.Of(i));
    }
    if (values.empty()) return;
    Bytes* patch = StartPatch(Operation::kUpdate, after);
    patch->Append(bitmap.span());
    patch->Append(values.span());
  }

  Bytes* StartPatch(Operation operation, const Standing& row) {
    patches_.emplace_back();
    patches_.back().Varint(PatchHead(0, operation));
    patches_.back().Append(row.key.span());
    return &patches_.back();
  }

  Connection* connection_;
  Table* table_;
  std::vector<Value> key_;
  Bytes identity_;
  std::vector<Bytes> patches_;  // to be written anew, once everything is merged
};

// A peer that lacks what was trimmed here may hold rows whose tombstones are gone.
bool IsBehind(Connection* connection, const StateChunk& chunk) {
  for (const auto& origin : connection->log.origins()) {
    uint64_t merged = 0;
    for (const StateOrigin& known : chunk.vector) {
      if (known.peer == origin->peer) merged = known.sequence;
    }
    if (merged < origin->trimmed) return true;
  }
  return false;
}

}  // namespace

int ReadRowsOf(Connection* connection, const char* name, Span keys, size_t bytes_max,
               double budget_ms, RowsRead* read) {
  const Deadline deadline(connection, budget_ms);
  MergeStats stats;
  const int rc = InMergeTransaction(connection, &stats, false, [&] {
    Table* table;
    bool done;
    int result = OpenTable(connection, name, &table);
    if (result == SQLITE_OK) result = FoldAll(connection, deadline, &done);
    if (result != SQLITE_OK || !done) return read->more = true, result;
    StateRows rows(connection);
    result = KeyOrder(connection, table, &rows.chunk().order);
    if (result == SQLITE_OK) result = rows.Begin(*table);
    Text sql;
    AppendClocksWithRows(&sql, *table);
    for (size_t i = 0; i < table->shape->keys.size(); i++) {
      (sql << (i > 0 ? " AND c." : " WHERE c.")).Name(table->shape->keys[i].name.c_str())
          << " = ?" << (i + 1);
    }
    Statement query;
    if (result == SQLITE_OK) {
      result = connection->Check(query.Prepare(connection->api, connection->db, sql.c_str()));
    }
    KeyList list(*table, keys);
    while (result == SQLITE_OK && rows.size() < bytes_max && list.Next()) {
      BindKey(&query, list.values().data(), list.values().size());
      result = query.Step();
      read->keys++;
      if (result != SQLITE_ROW) continue;
      read->rows++;
      result = rows.Add(*table, &query);
      if (result == SQLITE_OK) result = query.Reset();
    }
    if (result != SQLITE_OK) return connection->Check(result);
    if (!list.ok()) return KeyDamaged(connection);
    rows.Encode(&read->chunk);
    return SQLITE_OK;
  });
  read->busy = stats.busy;
  if (stats.busy) read->chunk.Clear();
  return rc;
}

int RepairRows(Connection* connection, const char* name, Span keys, Span bytes, double budget_ms,
               RowsRepaired* repaired) {
  const Deadline deadline(connection, budget_ms);
  MergeStats& stats = repaired->stats;
  StateChunk chunk;
  if (bytes.size > 0 && DecodeStateChunk(bytes, &chunk) != DecodeError::kNone) {
    return connection->Fail("PAYLOAD_CORRUPT", "a chunk of state does not decode",
                            "The message was damaged on its way or its sender is.");
  }
  const Span table_name{reinterpret_cast<const uint8_t*>(name), strlen(name)};
  if (bytes.size > 0 && CompareNames(chunk.table, table_name) != 0) {
    return connection->Fail("PAYLOAD_CORRUPT", "a chunk of state is of another table",
                            "The peer that sent it is damaged.");
  }
  if (connection->InTransaction()) return stats.busy = true, SQLITE_OK;
  int rc = connection->catalog.Refresh(connection);
  if (rc != SQLITE_OK || !connection->catalog.present()) return rc;
  StateItems items(connection, chunk);
  rc = items.LearnShapes(&stats.busy);
  if (rc == SQLITE_OK && !stats.busy) rc = items.Validate();
  if (rc != SQLITE_OK || stats.busy) return rc;
  stats.resume_at_ms = bytes.size > 0 ? items.TooFarAhead() : 0;
  if (stats.resume_at_ms > 0) return SQLITE_OK;
  rc = InMergeTransaction(connection, &stats, false, [&] {
    Table* table;
    bool done;
    int result = OpenTable(connection, name, &table);
    if (result == SQLITE_OK) result = FoldAll(connection, deadline, &done);
    if (result != SQLITE_OK || !done) return stats.more = true, result;
    if (bytes.size > 0 && IsBehind(connection, chunk)) return repaired->behind = true, SQLITE_OK;
    RowRepair repair(connection, table);
    // Row clocks may be taken away.
    table->standoffs.Forget();
    result = items.ReadShapes();
    if (result == SQLITE_OK) result = connection->merge->scope->BeforeWriting();
    if (result == SQLITE_OK && bytes.size > 0) result = items.Observe();
    if (result == SQLITE_OK) result = items.NoteParked();
    if (result == SQLITE_OK) result = repair.TakeAll(chunk, &items, &repaired->taken);
    if (result == SQLITE_OK) result = repair.Adopt(keys);
    if (result == SQLITE_OK) result = items.DropRepeated();
    if (result == SQLITE_OK) result = FoldNow(connection);
    return result == SQLITE_OK ? repair.WriteAnew(&repaired->rewritten) : result;
  });
  if (stats.busy) repaired->taken = repaired->rewritten = 0;
  return rc;
}

}  // namespace mergelite
