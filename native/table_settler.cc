// After a batch, the withheld rows of one table are tried from the oldest to the youngest.
#include <algorithm>

#include "connection.h"
#include "merge_scope.h"
#include "table_sql.h"
#include "violations.h"
#include "withheld.h"

namespace mergelite {
namespace {

struct WithheldRow {
  Bytes identity;
  Bytes encoded_key;
  Reason reason;
  Stamp birth;
  bool stuck = false;  // it was tried in vain, and nobody knows what would help
};

// Older first. Rows of one changeset share a stamp; their keys break the tie.
bool BornBefore(const PeerIds& peers, const Stamp& a, Span a_key, const Stamp& b, Span b_key) {
  return a == b ? a_key < b_key : peers.Newer(b, a);
}

int DecodeKey(Connection* connection, Span encoded, std::vector<Value>* key) {
  Reader in(encoded);
  for (Value& value : *key) {
    if (!ReadValue(&in, &value)) {
      return connection->Fail("FILE_DAMAGED", "a parked patch does not decode",
                              "Run `PRAGMA integrity_check`; restore the file from a backup.");
    }
  }
  return SQLITE_OK;
}

class TableSettler {
 public:
  TableSettler(Connection* connection, Table* table)
      : connection_(connection),
        table_(table),
        peers_(connection->log.peers()),
        key_(table->shape->keys.size()) {}

  int Run() {
    bool remembers;
    int rc = Remembers(&remembers);
    if (rc != SQLITE_OK) return rc;
    // Rows are tried from the oldest to the youngest, so one pass settles them all; a second one is
    // needed only for rows that the first has pushed out of the table.
    for (bool again = true; again;) {
      again = false;
      std::vector<WithheldRow> rows;
      rc = Collect(remembers, &rows);
      // Foreign keys have no say here either, nor have their cascades.
      if (rc == SQLITE_OK && !rows.empty()) rc = connection_->merge->scope->BeforeWriting();
      for (size_t i = 0; rc == SQLITE_OK && i < rows.size(); i++) {
        connection_->counters.withheld_tries++;
        bool pushed = false;
        rc = Try(rows[i], &pushed);
        again = again || pushed;
      }
      if (rc != SQLITE_OK) return rc;
      for (const WithheldRow& row : rows) {
        if (row.stuck) table_->standoffs.Open(HashOf(row.identity.span()), row.identity.span());
      }
    }
    return SQLITE_OK;
  }

 private:
  uint64_t HashOf(Span identity) const { return Clocks::Hashed(*table_, identity).hash; }

  // What a trigger of the user's does to a row may depend on anything.
  int Remembers(bool* remembers) {
    bool triggers;
    const int rc = connection_->merge->scope->HasUserTriggers(&triggers);
    if (triggers) table_->standoffs.Forget();
    *remembers = !triggers;
    return rc;
  }

  int Collect(bool remembers, std::vector<WithheldRow>* rows) {
    const Standoffs::Epoch epoch{connection_->log.loads(), connection_->catalog.schema_version()};
    if (!table_->standoffs.Knows(epoch)) {
      if (remembers) table_->standoffs.Learn(epoch);
      return CollectOf({}, rows);
    }
    std::vector<Bytes> open;
    table_->standoffs.TakeOpen(&open);
    for (const Bytes& identity : open) {
      const size_t before = rows->size();
      const int rc = CollectOf(identity.span(), rows);
      if (rc != SQLITE_OK) return rc;
      if (rows->size() > before) continue;
      table_->standoffs.Remove(HashOf(identity.span()), identity.span());
    }
    SortByAge(rows);
    return SQLITE_OK;
  }

  // One row, or all that are withheld, and in order.
  int CollectOf(Span identity, std::vector<WithheldRow>* rows) {
    Text sql("SELECT key, patch, reason FROM main._mergelite_parked WHERE table_name = ?1 AND ");
    sql << (identity.size > 0 ? "key = ?2 AND " : "")
        << "reason IN " MERGELITE_WITHHELD " GROUP BY key";
    Statement& query = identity.size > 0 ? collect_one_ : collect_all_;
    int rc = connection_->Prepare(&query, sql.c_str());
    if (rc != SQLITE_OK) return rc;
    query.String(1, table_->name.span());
    if (identity.size > 0) query.Bytes(2, identity);
    const size_t before = rows->size();
    while ((rc = query.Step()) == SQLITE_ROW) {
      WithheldRow row;
      row.identity.Append(query.ColumnBytes(0));
      row.reason = ReasonOf(query.ColumnText(2));
      Reader patch(query.ColumnBytes(1));
      patch.Varint();
      const uint8_t* begin = patch.at();
      for (Value& value : key_) ReadValue(&patch, &value);
      row.encoded_key.Append(begin, static_cast<size_t>(patch.at() - begin));
      rows->push_back(static_cast<WithheldRow&&>(row));
    }
    if (rc != SQLITE_OK) return connection_->Check(rc);
    for (size_t i = before; i < rows->size(); i++) {
      WithheldRow& row = (*rows)[i];
      rc = BirthOf(row.identity.span(), row.encoded_key.span(), &row.birth);
      if (rc != SQLITE_OK) return rc;
    }
    if (identity.size == 0) SortByAge(rows);
    return SQLITE_OK;
  }

  void SortByAge(std::vector<WithheldRow>* rows) const {
    std::sort(rows->begin(), rows->end(), [this](const WithheldRow& a, const WithheldRow& b) {
      return BornBefore(peers_, a.birth, a.identity.span(), b.birth, b.identity.span());
    });
  }

  int BirthOf(Span identity, Span encoded_key, Stamp* birth) {
    int rc = DecodeKey(connection_, encoded_key, &key_);
    if (rc != SQLITE_OK) return rc;
    rc = connection_->merge->clocks.LookUp(connection_, table_, identity, key_.data(), &clock_);
    *birth = clock_.life;
    return rc;
  }

  // First as things are; then, if an older row than those in its way asks for its value, with these
  // withheld.
  int Try(WithheldRow& row, bool* pushed) {
    std::vector<Bytes> image;
    row.stuck = true;
    Parking parking{row.identity.span(), row.reason};
    bool shown = false;
    int rc = ReadImage(row, &image);
    if (rc == SQLITE_OK) rc = Show(row, image, &shown, &parking.reason);
    if (rc != SQLITE_OK || shown) return row.stuck = false, rc;
    if (parking.reason != row.reason) {
      parking.detail = detail_.c_str();
      rc = ChangeReason(connection_, *table_, parking);
    }
    if (rc == SQLITE_OK && parking.reason == Reason::kNotNull) BlockedBy(row, row.identity.span());
    if (rc != SQLITE_OK || parking.reason != Reason::kUnique) return rc;
    rc = connection_->Execute("SAVEPOINT _mergelite_push");
    if (rc != SQLITE_OK) return rc;
    bool any = false;
    rc = PushYounger(row, image, &any);
    if (rc == SQLITE_OK && any) rc = Show(row, image, &shown, &parking.reason);
    if (rc != SQLITE_OK) return rc;
    if (shown) row.stuck = false;
    if (!shown) rc = connection_->Execute("ROLLBACK TO _mergelite_push");
    if (rc == SQLITE_OK) rc = connection_->Execute("RELEASE _mergelite_push");
    *pushed = shown;
    return rc;
  }

  // Writes the whole row at once, for only its final values count: columns nobody has set take
  // their defaults. What the constraints refuse stays withheld, for the reason that is told.
  int Show(const WithheldRow& row, const std::vector<Bytes>& image, bool* shown, Reason* reason) {
    Statement insert;
    int rc = PrepareInsert(row, image, "", &insert);
    if (rc != SQLITE_OK) return rc;
    rc = connection_->merge->scope->Run(*table_, row.identity.span(), &insert);
    int code = connection_->api->extended_errcode(connection_->db);
    detail_.Clear();
    detail_ << connection_->api->errmsg(connection_->db);
    if (connection_->merge->scope->undone()) return connection_->Check(rc);
    if (rc != SQLITE_OK && code == SQLITE_CONSTRAINT_CHECK) {
      rc = RunWithoutChecks(connection_, *table_, {row.identity.span(), &insert}, &code, &detail_);
      if (rc == SQLITE_OK) {
        Origin* origin = connection_->log.FindOrigin(peers_.Of(row.birth.origin));
        AddDoubt(connection_, {origin, 0, row.birth}, table_, row.identity.span(),
                 row.encoded_key.span());
      }
    }
    *shown = rc == SQLITE_OK;
    *reason = WithholdingReason(code);
    if ((rc & 0xff) == SQLITE_CONSTRAINT && connection_->InTransaction()) return SQLITE_OK;
    if (rc == SQLITE_OK) rc = UnparkWithheld(connection_, *table_, row.identity.span());
    if (rc == SQLITE_OK) table_->standoffs.Remove(HashOf(row.identity.span()), row.identity.span());
    return connection_->Check(rc);
  }

  // `row` and `image` must outlive the statement: its values are bound without copies.
  int PrepareInsert(const WithheldRow& row, const std::vector<Bytes>& image, const char* suffix,
                    Statement* insert) {
    const Shape& shape = *table_->shape;
    Text sql("INSERT OR ABORT INTO "), values;
    AppendTableName(&sql, *table_);
    sql << " (";
    AppendKeyNames(&sql, shape);
    uint64_t parameters = 0;
    for (; parameters < shape.keys.size(); parameters++) {
      values << (parameters > 0 ? ", ?" : "?") << (parameters + 1);
    }
    for (size_t i = 0; i < image.size(); i++) {
      if (image[i].empty()) continue;
      (sql << ", ").Name(shape.columns[i].c_str());
      values << ", ";
      AppendColumnValue(&values, *table_, i, ++parameters);
    }
    sql << ") VALUES (" << values << ")" << suffix;
    int rc = connection_->Check(insert->Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc == SQLITE_OK) rc = DecodeKey(connection_, row.encoded_key.span(), &key_);
    if (rc != SQLITE_OK) return rc;
    BindKey(insert, key_.data(), key_.size());
    int index = static_cast<int>(key_.size());
    for (const Bytes& encoded : image) {
      if (encoded.empty()) continue;
      Reader in(encoded.span());
      Value value;
      ReadValue(&in, &value);
      insert->Any(++index, value);
    }
    return SQLITE_OK;
  }

  void BlockedBy(WithheldRow& row, Span by) {
    row.stuck = false;
    table_->standoffs.Block(HashOf(row.identity.span()), row.identity.span(), HashOf(by));
  }

  // Withholds shown rows that are in the way of this one and were born later. One that turns out
  // not to be in the way comes back in the next pass.
  int PushYounger(WithheldRow& row, const std::vector<Bytes>& image, bool* any) {
    for (;;) {
      Bytes in_the_way;
      int rc = FindInTheWay(row, image, &in_the_way);
      if (rc != SQLITE_OK || in_the_way.empty()) return rc;
      bool pushed = false;
      rc = PushIfYounger(row, in_the_way.span(), &pushed);
      if (rc != SQLITE_OK || !pushed) return rc;
      *any = true;
    }
  }

  // The key of a row that keeps this one out of the table, empty if there is none. SQLite itself
  // tells, whatever its UNIQUE indexes are made of: inserting the row is made an update, without
  // change, of the row in its way, and undone.
  int FindInTheWay(const WithheldRow& row, const std::vector<Bytes>& image, Bytes* encoded_key) {
    const Shape& shape = *table_->shape;
    const Text& column = shape.columns.empty() ? shape.keys[0].name : shape.columns[0];
    Text upsert(" ON CONFLICT DO UPDATE SET ");
    upsert.Name(column.c_str()) << " = ";
    AppendTableName(&upsert, *table_);
    (upsert << ".").Name(column.c_str()) << " RETURNING ";
    AppendKeyNames(&upsert, shape);
    Statement insert;
    int rc = PrepareInsert(row, image, upsert.c_str(), &insert);
    if (rc == SQLITE_OK) rc = connection_->Execute("SAVEPOINT _mergelite_probe");
    if (rc == SQLITE_OK) rc = connection_->IgnoreChecks();
    if (rc != SQLITE_OK) return rc;
    const int step = insert.Step();
    std::vector<Value> key(shape.keys.size());
    for (size_t i = 0; step == SQLITE_ROW && i < key.size(); i++) {
      insert.ColumnAny(static_cast<int>(i), &key[i]);
      AppendValue(encoded_key, key[i]);
    }
    Bytes identity;
    if (step == SQLITE_ROW) IdentityOf(shape, key.data(), &identity);
    if (identity.span() == row.identity.span()) encoded_key->Clear();
    rc = insert.Reset();
    connection_->EnforceChecks();
    // The failed step says it once more.
    if (step == SQLITE_ROW && rc != SQLITE_OK) return connection_->Check(rc);
    rc = connection_->Execute("ROLLBACK TO _mergelite_probe");
    if (rc == SQLITE_OK) rc = connection_->Execute("RELEASE _mergelite_probe");
    if (rc != SQLITE_OK || step == SQLITE_ROW || (step & 0xff) == SQLITE_CONSTRAINT) return rc;
    return connection_->Check(step);
  }

  // The row's values by column, encoded, as its parked patches give them; empty for the default.
  int ReadImage(const WithheldRow& row, std::vector<Bytes>* image) {
    image->resize(table_->shape->columns.size());
    Statement query;
    int rc = connection_->Check(query.Prepare(
        connection_->api, connection_->db,
        "SELECT shape, patch FROM main._mergelite_parked WHERE table_name = ?1 AND key = ?2 AND "
        "reason IN " MERGELITE_WITHHELD
        " AND (timestamp, peer) >= (?3, ?4) ORDER BY timestamp, "
        "peer, id"));
    if (rc != SQLITE_OK) return rc;
    query.String(1, table_->name.span());
    query.Bytes(2, row.identity.span());
    query.Integer(3, static_cast<int64_t>(row.birth.timestamp));
    query.Integer(4, static_cast<int64_t>(peers_.Of(row.birth.origin)));
    while ((rc = query.Step()) == SQLITE_ROW) {
      const Shape* shape;
      rc = connection_->catalog.FindShape(connection_,
                                          static_cast<uint64_t>(query.ColumnInteger(0)), &shape);
      if (rc != SQLITE_OK) return rc;
      if (shape == nullptr) continue;
      Target* target;
      rc = ResolveTarget(connection_, shape, &target);
      if (rc != SQLITE_OK) return rc;
      const Span bytes = query.ColumnBytes(1);
      SinglePatch single(bytes, shape);
      Patch patch;
      if (!single.Read(&patch)) continue;
      // An insert sets every column: those its shape lacks go back to their defaults.
      for (Bytes& value : *image) {
        if (patch.operation == Operation::kInsert) value.Clear();
      }
      for (size_t i = 0; i < shape->columns.size(); i++) {
        if (!patch.Sets(i) || target->columns[i] < 0) continue;
        Bytes& value = (*image)[static_cast<size_t>(target->columns[i])];
        value.Clear();
        AppendValue(&value, patch.values[i]);
      }
    }
    return connection_->Check(rc);
  }

  int PushIfYounger(WithheldRow& row, Span encoded_key, bool* pushed) {
    int rc = DecodeKey(connection_, encoded_key, &key_);
    if (rc != SQLITE_OK) return rc;
    Bytes identity;
    IdentityOf(*table_->shape, key_.data(), &identity);
    Stamp birth;
    rc = BirthOf(identity.span(), encoded_key, &birth);
    if (rc != SQLITE_OK) return rc;
    if (!BornBefore(peers_, row.birth, row.identity.span(), birth, identity.span())) {
      return BlockedBy(row, identity.span()), SQLITE_OK;
    }
    *pushed = true;
    return WithholdRow(connection_, table_, {identity.span(), Reason::kUnique, detail_.c_str()},
                       key_.data(), encoded_key);
  }

  Connection* connection_;
  Table* table_;
  const PeerIds& peers_;
  std::vector<Value> key_;
  RowClock clock_;
  Statement collect_one_, collect_all_;
  Text detail_;  // what SQLite says of the row that is tried
};

}  // namespace

int SettleTable(Connection* connection, Table* table) {
  return TableSettler(connection, table).Run();
}

}  // namespace mergelite
