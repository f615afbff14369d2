#include "state_rows.h"

#include <algorithm>

#include "connection.h"
#include "merge.h"
#include "table_sql.h"

namespace mergelite {

void AppendClocksWithRows(Text* sql, const Table& table) {
  const Shape& shape = *table.shape;
  *sql << "SELECT c._mergelite_clock";
  for (const char* side : {"t.", "c."}) {
    for (const KeyColumn& key : shape.keys) (*sql << ", " << side).Name(key.name.c_str());
  }
  for (const Text& column : shape.columns) (*sql << ", t.").Name(column.c_str());
  *sql << " FROM ";
  AppendClockName(sql, table);
  *sql << " AS c LEFT JOIN ";
  AppendTableName(sql, table);
  const char* separator = " AS t ON ";
  for (const KeyColumn& key : shape.keys) {
    (*sql << separator << "t.").Name(key.name.c_str()) << " = c.";
    sql->Name(key.name.c_str());
    separator = " AND ";
  }
}

StateRows::StateRows(Connection* connection) : connection_(connection) {
  for (const auto& origin : connection->log.origins()) {
    if (index_by_ordinal_.size() <= origin->ordinal) {
      index_by_ordinal_.resize(origin->ordinal + 1, 0);
    }
    index_by_ordinal_[origin->ordinal] = chunk_.vector.size();
    chunk_.vector.push_back({origin->peer, origin->merged, origin->timestamp});
  }
}

int StateRows::Begin(const Table& table) {
  const int rc = LookForParked(table);
  ShapeIndex(*table.shape);
  chunk_.table = table.name.span();
  return rc;
}

int StateRows::AddParkedAlone(Statement* parked) {
  const int rc = AddParked(parked);
  FlushItem(false);
  return rc;
}

void StateRows::Encode(Bytes* out) {
  chunk_.shapes.clear();
  for (const Bytes& descriptor : descriptors_) chunk_.shapes.push_back(descriptor.span());
  chunk_.swept = connection_->log.swept();
  chunk_.item_count = item_count_;
  chunk_.items = items_.span();
  EncodeStateChunk(chunk_, out);
}

int StateRows::Add(const Table& table, Statement* rows) {
  const size_t keys = table.shape->keys.size();
  if (!clock_.Decode(rows->ColumnBytes(0))) {
    return connection_->Fail("FILE_DAMAGED", "a row clock does not decode",
                             "Run `PRAGMA integrity_check`; restore the file from a backup.");
  }
  const bool shown = !rows->ColumnIsNull(1);
  key_.Clear();
  key_values_.resize(keys);
  for (size_t i = 0; i < keys; i++) {
    rows->ColumnAny(static_cast<int>(1 + (shown ? 0 : keys) + i), &key_values_[i]);
    AppendValue(&key_, key_values_[i]);
  }
  if (clock_.has_life && !clock_.alive) {
    StartItem(clock_.life, Operation::kDelete);
  } else if (clock_.has_life && shown) {
    AddShown(table, rows);
  }
  // Whatever is parked for the row comes after its key as the table has it.
  if (!pending_) {
    StartItem(clock_.has_life ? clock_.life : Stamp{1, clock_.life.origin}, Operation::kDelete);
    item_.mention = true;
    item_.unborn = !clock_.has_life;
  }
  const int rc = any_parked_ ? AddParkedOf(table) : SQLITE_OK;
  FlushItem(false);
  return rc;
}

void StateRows::AddShown(const Table& table, Statement* rows) {
  const size_t first = 1 + 2 * table.shape->keys.size();
  const size_t columns = table.shape->columns.size();
  StartItem(clock_.life, Operation::kInsert);
  Value value;
  for (size_t i = 0; i < columns; i++) {
    rows->ColumnAny(static_cast<int>(first + i), &value);
    AppendValue(&patch_, value);
  }
  // Columns set at one stamp are one update.
  std::vector<Override>& overrides = clock_.overrides;
  for (size_t at = 0; at < overrides.size(); at++) {
    const Stamp stamp = overrides[at].stamp;
    const auto same = [&](const Override& entry) { return entry.stamp == stamp; };
    if (std::any_of(overrides.begin(), overrides.begin() + static_cast<long>(at), same)) continue;
    Bytes bitmap, values;
    memset(bitmap.Reserve(table.shape->bitmap_bytes() + 1), 0, table.shape->bitmap_bytes() + 1);
    bitmap.Advance(table.shape->bitmap_bytes());
    for (size_t i = 0; i < columns; i++) {
      const uint32_t id = table.column_ids[i];
      const auto set = [&](const Override& entry) { return entry.column == id && same(entry); };
      if (!std::any_of(overrides.begin(), overrides.end(), set)) continue;
      bitmap.data()[i / 8] |= static_cast<uint8_t>(1u << (i % 8));
      rows->ColumnAny(static_cast<int>(first + i), &value);
      AppendValue(&values, value);
    }
    // Of columns that the table no longer has nothing is left to send.
    if (values.empty()) continue;
    StartItem(stamp, Operation::kUpdate);
    patch_.Append(bitmap.span());
    patch_.Append(values.span());
  }
}

int StateRows::LookForParked(const Table& table) {
  Statement query;
  int rc = connection_->Check(
      query.Prepare(connection_->api, connection_->db,
                    "SELECT EXISTS (SELECT 1 FROM main._mergelite_parked WHERE table_name = "
                    "?1)"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, table.name.span());
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection_->Check(rc);
  any_parked_ = query.ColumnInteger(0) != 0;
  return SQLITE_OK;
}

int StateRows::AddParkedOf(const Table& table) {
  int rc = connection_->Prepare(
      &parked_,
      "SELECT peer, sequence, timestamp, shape, patch FROM main._mergelite_parked WHERE "
      "table_name = ?1 AND key = ?2 AND reason <> 'check' ORDER BY timestamp, id");
  if (rc != SQLITE_OK) return rc;
  IdentityOf(*table.shape, key_values_.data(), &identity_);
  parked_.String(1, table.name.span());
  parked_.Bytes(2, identity_.span());
  while ((rc = parked_.Step()) == SQLITE_ROW) {
    rc = AddParked(&parked_);
    if (rc != SQLITE_OK) return rc;
  }
  return connection_->Check(rc);
}

int StateRows::AddParked(Statement* parked) {
  Origin* origin = connection_->log.FindOrigin(static_cast<uint64_t>(parked->ColumnInteger(0)));
  const Shape* shape;
  const int rc = connection_->catalog.FindShape(
      connection_, static_cast<uint64_t>(parked->ColumnInteger(3)), &shape);
  if (rc != SQLITE_OK || shape == nullptr || origin == nullptr) return rc;
  const Span patch = parked->ColumnBytes(4);
  Reader in(patch);
  const auto operation = static_cast<Operation>(in.Varint() & 3);
  FlushItem(true);
  item_.origin = index_by_ordinal_[origin->ordinal];
  item_.timestamp = static_cast<uint64_t>(parked->ColumnInteger(2));
  item_.sequence = static_cast<uint64_t>(parked->ColumnInteger(1));
  patch_.Varint(PatchHead(ShapeIndex(*shape), operation));
  patch_.Append(in.at(), in.left());
  pending_ = true;
  return SQLITE_OK;
}

size_t StateRows::ShapeIndex(const Shape& shape) {
  for (size_t i = 0; i < shape_hashes_.size(); i++) {
    if (shape_hashes_[i] == shape.hash) return i;
  }
  shape_hashes_.push_back(shape.hash);
  descriptors_.emplace_back();
  EncodeShape(shape, &descriptors_.back());
  return shape_hashes_.size() - 1;
}

void StateRows::StartItem(const Stamp& stamp, Operation operation) {
  FlushItem(true);
  item_.origin = index_by_ordinal_[stamp.origin];
  item_.timestamp = stamp.timestamp;
  patch_.Varint(PatchHead(0, operation));
  patch_.Append(key_.span());
  pending_ = true;
}

void StateRows::FlushItem(bool goes_on) {
  if (pending_) {
    item_.goes_on = goes_on;
    item_.patch = patch_.span();
    AppendStateItem(item_, &items_);
    item_count_++;
  }
  pending_ = false;
  item_ = {};
  patch_.Clear();
}

}  // namespace mergelite
