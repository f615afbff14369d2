#include "bootstrap.h"

#include "merge.h"
#include "slice_writer.h"
#include "table_sql.h"
#include "withheld.h"

namespace mergelite {
namespace {

// Whether something of a table that was not replicated here yet is parked for a key: the row as the
// peers have it, which shows as soon as parked patches are tried again.
class KnownRows {
 public:
  int Open(Connection* connection, const Table& table) {
    connection_ = connection;
    int rc = connection->Check(known_.Prepare(
        connection->api, connection->db,
        "SELECT EXISTS (SELECT 1 FROM main._mergelite_parked WHERE table_name = ?1 AND (?2 IS NULL "
        "OR key = ?2))"));
    if (rc != SQLITE_OK) return rc;
    known_.String(1, table.name.span());
    rc = Ask(&any_);
    return rc;
  }
  int Knows(const Shape& shape, const Value* key, bool* known) {
    *known = false;
    if (!any_) return SQLITE_OK;
    IdentityOf(shape, key, &identity_);
    known_.Bytes(2, identity_.span());
    return Ask(known);
  }

 private:
  int Ask(bool* known) {
    const int rc = known_.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    *known = known_.ColumnInteger(0) != 0;
    return connection_->Check(known_.Reset());
  }

  Connection* connection_ = nullptr;
  Statement known_;
  bool any_ = false;
  Bytes identity_;
};

// `known`: rows that peers are known to have made are theirs; null for all rows.
int LogRows(Connection* connection, Table* table, KnownRows* known, SliceWriter* writer) {
  const Shape& shape = *table->shape;
  Text sql("SELECT ");
  AppendKeyNames(&sql, shape);
  for (const Text& column : shape.columns) (sql << ", ").Name(column.c_str());
  sql << " FROM ";
  AppendTableName(&sql, *table);
  Statement query;
  int rc = connection->Check(query.Prepare(connection->api, connection->db, sql.c_str()));
  const size_t values = shape.keys.size() + shape.columns.size();
  std::vector<Value> key(known == nullptr ? 0 : shape.keys.size());
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    for (size_t i = 0; i < key.size(); i++) query.ColumnAny(static_cast<int>(i), &key[i]);
    bool theirs = false;
    rc = known == nullptr ? SQLITE_OK : known->Knows(shape, key.data(), &theirs);
    if (rc != SQLITE_OK) return rc;
    if (theirs) continue;
    Bytes* body = writer->body();
    body->Varint(PatchHead(0, Operation::kInsert));
    for (size_t i = 0; i < values; i++) {
      Value value;
      query.ColumnAny(static_cast<int>(i), &value);
      if (i < shape.keys.size() && value.type == Type::kNull) {
        return connection->Fail("KEY_NULL", "a row has NULL in its key",
                                "Give it a key and declare the column NOT NULL.");
      }
      AppendValue(body, value);
    }
    rc = writer->Added();
  }
  return connection->Check(rc);
}

// A reading as transactions make them, and not one of the future.
uint64_t TimestampOfHistory(Connection* connection, int64_t patched_at) {
  const uint64_t newest = Tick(connection->log.newest_timestamp(), connection->NowMs());
  const auto timestamp = static_cast<uint64_t>(patched_at) & ~kTickBits;
  if (patched_at <= 0 || timestamp == 0) return kBeforeAllWrites;
  return timestamp > newest ? newest : timestamp;
}

// Every row as old as temp._mergelite_history knows it to be.
int LogRowsWithHistory(Connection* connection, Table* table) {
  const Shape& shape = *table->shape;
  Text sql("SELECT h._patchedAt"), join(" ON ");
  for (size_t i = 0; i < shape.keys.size(); i++) {
    const char* key = shape.keys[i].name.c_str();
    (sql << ", t.").Name(key);
    (join << (i > 0 ? " AND t." : "t.")).Name(key) << " = h.";
    join.Name(key);
  }
  for (const Text& column : shape.columns) (sql << ", t.").Name(column.c_str());
  sql << " FROM ";
  AppendTableName(&sql, *table);
  sql << " AS t LEFT JOIN temp._mergelite_history AS h" << join << " ORDER BY 1";
  Statement query;
  int rc = connection->Check(query.Prepare(connection->api, connection->db, sql.c_str()));
  const size_t values = shape.keys.size() + shape.columns.size();
  std::unique_ptr<SliceWriter> writer;
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    const uint64_t timestamp = TimestampOfHistory(connection, query.ColumnInteger(0));
    rc = SQLITE_OK;
    if (writer != nullptr && writer->timestamp() != timestamp) {
      rc = writer->Write();
      writer.reset();
    }
    if (rc != SQLITE_OK) return rc;
    if (writer == nullptr) {
      writer = std::make_unique<SliceWriter>(connection, shape.hash, timestamp);
      connection->log.Observe(timestamp);
    }
    writer->body()->Varint(PatchHead(0, Operation::kInsert));
    for (size_t i = 0; i < values; i++) {
      Value value;
      query.ColumnAny(static_cast<int>(i) + 1, &value);
      if (i < shape.keys.size() && value.type == Type::kNull) {
        return connection->Fail("KEY_NULL", "a row has NULL in its key",
                                "Give it a key and declare the column NOT NULL.");
      }
      AppendValue(writer->body(), value);
    }
    rc = writer->Added();
  }
  if (rc == SQLITE_OK && writer != nullptr) rc = writer->Write();
  return connection->Check(rc);
}

// Whether the table has the row that a patch is about.
int IsThere(Connection* connection, Table* table, Span patch, bool* there) {
  Reader in(patch);
  in.Varint();
  std::vector<Value> key(table->shape->keys.size());
  for (Value& value : key) {
    if (!ReadValue(&in, &value)) return connection->Fail("FILE_DAMAGED", "a key is damaged");
  }
  return RowExists(connection, table, key.data(), there);
}

// Rows that are withheld are not in the table, and yet nobody has deleted them. They are written
// again like the others, each patch with a stamp above all before it: so they stay the younger
// ones.
int LogWithheldRows(Connection* connection, Table* table) {
  if (!AnyHeld(connection)) return SQLITE_OK;
  Statement query, move;
  int rc = connection->Check(query.Prepare(connection->api, connection->db,
                                           "SELECT id, shape, patch FROM main._mergelite_parked "
                                           "WHERE table_name = ?1 AND reason IN " MERGELITE_WITHHELD
                                           " ORDER BY timestamp, peer, id"));
  if (rc == SQLITE_OK) {
    rc = connection->Check(move.Prepare(
        connection->api, connection->db,
        "UPDATE main._mergelite_parked SET peer = ?2, sequence = ?3, timestamp = ?4 WHERE id = "
        "?1"));
  }
  if (rc != SQLITE_OK) return rc;
  query.String(1, table->name.span());
  const Origin* self = connection->log.self();
  while ((rc = query.Step()) == SQLITE_ROW) {
    // Inserted while nobody captured: that is what counts.
    bool there = false;
    rc = IsThere(connection, table, query.ColumnBytes(2), &there);
    if (rc != SQLITE_OK) return rc;
    if (there) continue;
    SliceWriter writer(connection, static_cast<uint64_t>(query.ColumnInteger(1)), 0);
    writer.Tick();
    Reader in(query.ColumnBytes(2));
    writer.body()->Varint(PatchHead(0, static_cast<Operation>(in.Varint() & 3)));
    writer.body()->Append(in.at(), in.left());
    rc = writer.Added();
    if (rc == SQLITE_OK) rc = writer.Write();
    if (rc != SQLITE_OK) return rc;
    move.Integer(1, query.ColumnInteger(0));
    move.Integer(2, static_cast<int64_t>(self->peer));
    move.Integer(3, static_cast<int64_t>(self->held));
    move.Integer(4, static_cast<int64_t>(writer.timestamp()));
    rc = connection->Check(move.Run());
    if (rc != SQLITE_OK) return rc;
  }
  return connection->Check(rc);
}

// Rows that the row clocks say are alive, but that were deleted while nobody captured.
int LogVanishedRows(Connection* connection, Table* table, SliceWriter* writer) {
  const Shape& shape = *table->shape;
  Text sql("SELECT _mergelite_clock, ");
  AppendKeyNames(&sql, shape);
  sql << " FROM ";
  AppendClockName(&sql, *table);
  Statement query;
  int rc = connection->Check(query.Prepare(connection->api, connection->db, sql.c_str()));
  std::vector<Value> key(shape.keys.size());
  Bytes identity;
  RowClock clock;
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    rc = SQLITE_OK;
    if (!clock.Decode(query.ColumnBytes(0)) || !clock.alive) continue;
    for (size_t i = 0; i < key.size(); i++) query.ColumnAny(static_cast<int>(i) + 1, &key[i]);
    bool there;
    rc = RowExists(connection, table, key.data(), &there);
    if (rc != SQLITE_OK) return rc;
    if (there) continue;
    uint8_t held;
    IdentityOf(shape, key.data(), &identity);
    rc = HeldFor(connection, *table, identity.span(), &held);
    if (rc != SQLITE_OK) return rc;
    if ((held & kWithheldBits) != 0) continue;
    writer->body()->Varint(PatchHead(0, Operation::kDelete));
    for (const Value& value : key) AppendValue(writer->body(), value);
    rc = writer->Added();
  }
  return connection->Check(rc);
}

bool HasColumn(const Shape& shape, const char* name) {
  for (const Text& column : shape.columns) {
    if (SameName(column.c_str(), name)) return true;
  }
  return false;
}

}  // namespace

int ReadDefault(Connection* connection, const Text& table, const Text& column, Text* expression) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT dflt_value FROM pragma_table_xinfo(?1, 'main') WHERE name = ?2 COLLATE NOCASE"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, table.span());
  query.String(2, column.span());
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  *expression << (query.ColumnIsNull(0) ? "NULL" : query.ColumnText(0));
  return connection->Check(query.Reset());
}

namespace {

int LogColumn(Connection* connection, Table* table, size_t column, SliceWriter* writer) {
  const Shape& shape = *table->shape;
  Text expression;
  int rc = ReadDefault(connection, table->name, shape.columns[column], &expression);
  if (rc != SQLITE_OK) return rc;
  Text sql("SELECT ");
  sql.Name(shape.columns[column].c_str()) << ", ";
  AppendKeyNames(&sql, shape);
  sql << " FROM ";
  AppendTableName(&sql, *table);
  (sql << " WHERE ").Name(shape.columns[column].c_str()) << " IS NOT (" << expression << ")";
  Statement query;
  rc = connection->Check(query.Prepare(connection->api, connection->db, sql.c_str()));
  while (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
    Bytes* body = writer->body();
    body->Varint(PatchHead(0, Operation::kUpdate));
    Value value;
    for (size_t i = 0; i < shape.keys.size(); i++) {
      query.ColumnAny(static_cast<int>(i) + 1, &value);
      AppendValue(body, value);
    }
    const size_t bytes = shape.bitmap_bytes();
    memset(body->Reserve(bytes), 0, bytes);
    body->data()[body->size() + column / 8] = static_cast<uint8_t>(1u << (column % 8));
    body->Advance(bytes);
    query.ColumnAny(0, &value);
    AppendValue(body, value);
    rc = writer->Added();
  }
  return connection->Check(rc);
}

}  // namespace

int LogNewColumns(Connection* connection, Table* table, const Shape& before) {
  Log& log = connection->log;
  const uint64_t timestamp = Tick(log.newest_timestamp(), connection->NowMs());
  SliceWriter writer(connection, table->shape->hash, timestamp);
  int rc = SQLITE_OK;
  for (size_t i = 0; rc == SQLITE_OK && i < table->shape->columns.size(); i++) {
    if (HasColumn(before, table->shape->columns[i].c_str())) continue;
    rc = LogColumn(connection, table, i, &writer);
  }
  if (rc == SQLITE_OK) rc = writer.Write();
  log.Observe(timestamp);
  return rc;
}

int LogExistingRows(Connection* connection, Table* table, bool returning) {
  Log& log = connection->log;
  uint64_t timestamp = kBeforeAllWrites;
  int64_t bound = 0;
  int rc = returning ? FoldEverything(connection) : SQLITE_OK;
  if (rc == SQLITE_OK) rc = log.MetaInteger(connection, "bound", &bound);
  if (rc != SQLITE_OK) return rc;
  // This file has promised to write nothing below its bound. What it holds of the table from peers
  // is older than the new stamp, and would lose to it.
  const bool late = bound > 0 && !returning;
  if (returning || late) {
    timestamp = Tick(log.newest_timestamp(), connection->NowMs());
    log.Observe(timestamp);
  }
  KnownRows known;
  if (late) rc = known.Open(connection, *table);
  if (rc != SQLITE_OK) return rc;
  SliceWriter writer(connection, table->shape->hash, timestamp);
  if (returning) rc = LogWithheldRows(connection, table);
  if (rc != SQLITE_OK) return rc;
  const bool history = connection->has_history && timestamp == kBeforeAllWrites;
  rc = history ? LogRowsWithHistory(connection, table) : SQLITE_OK;
  if (rc == SQLITE_OK && !history)
    rc = LogRows(connection, table, late ? &known : nullptr, &writer);
  if (rc == SQLITE_OK && returning) rc = LogVanishedRows(connection, table, &writer);
  if (rc == SQLITE_OK) rc = writer.Write();
  if (rc != SQLITE_OK) return rc;
  // The log's last row is no longer the newest: keep the newest timestamp elsewhere.
  log.self()->timestamp = log.newest_timestamp();
  log.self()->dirty = true;
  return log.SaveOrigins(connection);
}

}  // namespace mergelite
