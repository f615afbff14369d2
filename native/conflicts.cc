#include "conflicts.h"

#include "connection.h"
#include "table_sql.h"
#include "violations.h"
#include "withheld.h"

namespace mergelite {
namespace {

class ConflictReader {
 public:
  explicit ConflictReader(Connection* connection) : connection_(connection) {}

  int Open(const ConflictQuery& query) {
    const int rc = connection_->Check(rows_.Prepare(
        connection_->api, connection_->db,
        "SELECT id, table_name, key, reason, detail, peer, sequence, timestamp, shape, patch FROM "
        "main._mergelite_parked AS p WHERE id > ?1 AND (?2 = '' OR table_name = ?2) AND (?3 = '' "
        "OR "
        "reason = ?3) AND (?4 = 0 OR id = ?4) AND (reason NOT IN " MERGELITE_WITHHELD
        " OR id = (SELECT min(id) FROM main._mergelite_parked AS q WHERE q.table_name = "
        "p.table_name "
        "AND q.key = p.key AND q.reason IN " MERGELITE_WITHHELD ")) ORDER BY id LIMIT ?5"));
    if (rc != SQLITE_OK) return rc;
    rows_.Integer(1, query.after);
    rows_.String(2, query.table.span());
    rows_.String(3, query.reason.span());
    rows_.Integer(4, query.id);
    rows_.Integer(5, static_cast<int64_t>(query.limit));
    return SQLITE_OK;
  }

  // SQLITE_ROW with the next conflict, SQLITE_OK at the end.
  int Next() {
    int rc = rows_.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    conflict_ = Conflict();
    conflict_.id = rows_.ColumnInteger(0);
    conflict_.table << rows_.ColumnText(1);
    identity_.Clear();
    identity_.Append(rows_.ColumnBytes(2));
    conflict_.reason = ReasonOf(rows_.ColumnText(3));
    if (!rows_.ColumnIsNull(4)) conflict_.detail << rows_.ColumnText(4);
    conflict_.peer = static_cast<uint64_t>(rows_.ColumnInteger(5));
    conflict_.sequence = static_cast<uint64_t>(rows_.ColumnInteger(6));
    conflict_.timestamp = static_cast<uint64_t>(rows_.ColumnInteger(7));
    rc = connection_->catalog.FindShape(connection_, static_cast<uint64_t>(rows_.ColumnInteger(8)),
                                        &shape_);
    if (rc != SQLITE_OK || shape_ == nullptr) return rc == SQLITE_OK ? SQLITE_ROW : rc;
    patch_bytes_.Clear();
    patch_bytes_.Append(rows_.ColumnBytes(9));
    patch_ = std::make_unique<SinglePatch>(patch_bytes_.span(), shape_);
    Patch patch;
    if (!patch_->Read(&patch)) return SQLITE_ROW;
    key_.assign(patch.key, patch.key + shape_->keys.size());
    encoded_key_ = patch.encoded_key;
    conflict_.operation = patch.operation;
    for (size_t i = 0; i < key_.size(); i++) {
      conflict_.key.push_back({&shape_->keys[i].name, key_[i]});
    }
    if ((BitOf(conflict_.reason) & kWithheldBits) != 0) rc = ReadWithheld();
    if (conflict_.reason == Reason::kCheck) rc = ReadShown();
    if ((BitOf(conflict_.reason) & (kWithheldBits | BitOf(Reason::kCheck))) == 0) {
      AddValues(patch);
    }
    return rc == SQLITE_OK ? SQLITE_ROW : rc;
  }

  const Conflict& conflict() const { return conflict_; }
  Span identity() const { return identity_.span(); }
  Span encoded_key() const { return encoded_key_; }
  const std::vector<Value>& key() const { return key_; }

 private:
  void AddValues(const Patch& patch) {
    if (patch.operation == Operation::kDelete) return;
    for (size_t i = 0; i < patch.shape->columns.size(); i++) {
      if (patch.Sets(i)) Set(patch.shape->columns[i], patch.values[i]);
    }
  }

  void Set(const Text& name, const Value& value) {
    for (NamedValue& known : conflict_.values) {
      if (!SameName(known.name->c_str(), name.c_str())) continue;
      known.value = value;
      return;
    }
    conflict_.values.push_back({&name, value});
  }

  // The values of a withheld row, as its patches make them; it is told under the newest of them.
  int ReadWithheld() {
    conflict_.operation = Operation::kInsert;
    parts_.clear();
    Statement query;
    int rc = connection_->Check(query.Prepare(
        connection_->api, connection_->db,
        "SELECT peer, sequence, timestamp, shape, patch FROM main._mergelite_parked WHERE "
        "table_name = ?1 AND key = ?2 AND reason IN " MERGELITE_WITHHELD
        " ORDER BY timestamp, peer, id"));
    if (rc != SQLITE_OK) return rc;
    query.String(1, conflict_.table.span());
    query.Bytes(2, identity_.span());
    while ((rc = query.Step()) == SQLITE_ROW) {
      const Shape* shape;
      rc = connection_->catalog.FindShape(connection_,
                                          static_cast<uint64_t>(query.ColumnInteger(3)), &shape);
      if (rc != SQLITE_OK) return rc;
      if (shape == nullptr) continue;
      conflict_.peer = static_cast<uint64_t>(query.ColumnInteger(0));
      conflict_.sequence = static_cast<uint64_t>(query.ColumnInteger(1));
      conflict_.timestamp = static_cast<uint64_t>(query.ColumnInteger(2));
      parts_.push_back(std::make_unique<Part>());
      Part& part = *parts_.back();
      part.bytes.Append(query.ColumnBytes(4));
      part.patch = std::make_unique<SinglePatch>(part.bytes.span(), shape);
      Patch patch;
      if (part.patch->Read(&patch)) AddValues(patch);
    }
    return connection_->Check(rc);
  }

  // The values of a row that is shown.
  int ReadShown() {
    Table* table = connection_->catalog.FindTable(conflict_.table.c_str());
    if (table == nullptr || !table->active) return SQLITE_OK;
    int rc = connection_->catalog.Check(connection_, table);
    if (rc == SQLITE_OK) rc = PrepareReadRow(connection_, table);
    if (rc != SQLITE_OK) return rc;
    BindKey(&table->read_row, key_.data(), key_.size());
    rc = table->read_row.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    parts_.clear();
    for (size_t i = 0; i < table->shape->columns.size(); i++) {
      Value value;
      table->read_row.ColumnAny(static_cast<int>(i), &value);
      parts_.push_back(std::make_unique<Part>());
      Bytes& bytes = parts_.back()->bytes;
      AppendValue(&bytes, value);
      Reader in(bytes.span());
      ReadValue(&in, &value);
      Set(table->shape->columns[i], value);
    }
    return connection_->Check(table->read_row.Reset());
  }

  // What the values of a conflict point into.
  struct Part {
    Bytes bytes;
    std::unique_ptr<SinglePatch> patch;
  };

  Connection* connection_;
  Statement rows_;
  Conflict conflict_;
  const Shape* shape_ = nullptr;
  Bytes identity_, patch_bytes_;
  Span encoded_key_;
  std::unique_ptr<SinglePatch> patch_;
  std::vector<std::unique_ptr<Part>> parts_;
  std::vector<Value> key_;
};

int RefuseInTransaction(Connection* connection) {
  if (!connection->InTransaction()) return SQLITE_OK;
  return connection->Fail("IN_TRANSACTION", "a conflict is settled in a transaction of its own",
                          "Commit first.");
}

// A delete without a row: captured by hand, and logged at COMMIT like any.
int WriteDelete(Connection* connection, const Table& table, const std::vector<Value>& key) {
  Text sql("SELECT mergelite_capture(?1");
  for (size_t i = 0; i < key.size(); i++) sql << ", ?" << (i + 2);
  sql << ")";
  Transaction transaction(connection);
  int rc = transaction.Begin();
  if (rc != SQLITE_OK) return rc;
  {
    Statement capture;
    rc = connection->Check(capture.Prepare(connection->api, connection->db, sql.c_str()));
    if (rc != SQLITE_OK) return rc;
    capture.Integer(1, CaptureLiteral(connection->log.tag(), table.shape_id, CaptureOp::kDelete));
    for (size_t i = 0; i < key.size(); i++) capture.Any(static_cast<int>(i) + 2, key[i]);
    rc = connection->Check(capture.Run());
  }
  return rc == SQLITE_OK ? transaction.Commit() : rc;
}

}  // namespace

int ForEachConflict(Connection* connection, const ConflictQuery& query,
                    void (*visit)(void* context, const Conflict& conflict), void* context) {
  int rc = connection->catalog.Refresh(connection);
  ConflictReader reader(connection);
  if (rc == SQLITE_OK) rc = reader.Open(query);
  if (rc != SQLITE_OK) return rc;
  while ((rc = reader.Next()) == SQLITE_ROW) visit(context, reader.conflict());
  return rc;
}

int DiscardConflict(Connection* connection, int64_t id, MergeStats* stats) {
  int rc = RefuseInTransaction(connection);
  if (rc == SQLITE_OK) rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = connection->log.Refresh(connection);
  if (rc != SQLITE_OK) return rc;
  ConflictQuery query;
  query.id = id;
  Table* table;
  Reason reason;
  std::vector<Value> key;
  Bytes identity, encoded_key;
  {
    ConflictReader reader(connection);
    rc = reader.Open(query);
    if (rc == SQLITE_OK) rc = reader.Next();
    if (rc != SQLITE_ROW) return rc;  // resolved by now
    reason = reader.conflict().reason;
    table = connection->catalog.FindTable(reader.conflict().table.c_str());
    identity.Append(reader.identity());
    encoded_key.Append(reader.encoded_key());
  }
  const uint8_t kept = BitOf(Reason::kTable) | BitOf(Reason::kColumn) | BitOf(Reason::kKey);
  if ((BitOf(reason) & kept) != 0 || table == nullptr || !table->active) {
    return connection->Fail("CONFLICT_KEPT",
                            "what waits for another schema is kept: without it this replica would "
                            "differ once it has that schema",
                            "Give the table the shape that its peers have.");
  }
  rc = connection->catalog.Check(connection, table);
  if (rc != SQLITE_OK) return rc;
  if (reason == Reason::kCheck) {
    return SettleInMergeTransaction(connection, stats,
                                    [&] { return Unmark(connection, *table, identity.span()); });
  }
  key.resize(table->shape->keys.size());
  Reader in(encoded_key.span());
  for (Value& value : key) {
    if (!ReadValue(&in, &value)) return connection->Fail("KEY_MALFORMED", "a key is damaged");
  }
  return WriteDelete(connection, *table, key);
}

int DiscardRefused(Connection* connection, uint64_t peer, uint64_t sequence) {
  int rc = RefuseInTransaction(connection);
  if (rc != SQLITE_OK) return rc;
  Statement statement;
  // The verdict stays: it says that row clocks hold nothing of this changeset.
  rc = connection->Check(
      statement.Prepare(connection->api, connection->db,
                        "UPDATE main._mergelite_refused SET payload = x'' WHERE peer = ?1 AND "
                        "sequence = ?2"));
  if (rc != SQLITE_OK) return rc;
  statement.Integer(1, static_cast<int64_t>(peer));
  statement.Integer(2, static_cast<int64_t>(sequence));
  return connection->Check(statement.Run());
}

int DeleteRow(Connection* connection, const char* name, Span encoded_key) {
  int rc = connection->catalog.Refresh(connection);
  if (rc != SQLITE_OK) return rc;
  Table* table = connection->catalog.FindTable(name);
  if (table == nullptr || !table->active) {
    return connection->Fail("TABLE_NOT_REPLICATED", "the table is not replicated here",
                            "See `mergelite status`.");
  }
  rc = connection->catalog.Check(connection, table);
  if (rc == SQLITE_OK) rc = PrepareRemove(connection, table);
  if (rc != SQLITE_OK) return rc;
  std::vector<Value> key(table->shape->keys.size());
  Reader in(encoded_key);
  for (Value& value : key) {
    if (!ReadValue(&in, &value)) return connection->Fail("KEY_MALFORMED", "a key is damaged");
  }
  BindKey(&table->remove, key.data(), key.size());
  return connection->Check(table->remove.Run());
}

}  // namespace mergelite
