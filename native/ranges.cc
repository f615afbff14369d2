#include "ranges.h"

#include "connection.h"
#include "merge.h"
#include "parked.h"
#include "state.h"
#include "table_sql.h"

namespace mergelite {
namespace {

// A new range is cut at so many rows; an old one may grow to twice that before it is cut.
constexpr uint64_t kRangeRows = 1024;
// One that has shrunk below this takes in the next one.
constexpr uint64_t kRangeRowsMin = 128;
// Of keys in one list.
constexpr size_t kListBytesMax = size_t{256} << 10;

// "k0, k1": a key's own column names could be those of a range's other columns.
Text KeyNames(size_t keys) {
  Text names;
  for (uint64_t i = 0; i < keys; i++) names << (i > 0 ? ", k" : "k") << i;
  return names;
}

// The ranges of one table within one call. Range 1 begins where the keys begin: its key is NULL.
class TableRanges {
 public:
  TableRanges(Connection* connection, double budget_ms)
      : connection_(connection), deadline_(connection, budget_ms) {}

  // Brings row clocks and ranges up to date, or says that there is `more` to do.
  int Open(const char* name, RangeAnswer* answer) {
    int rc = connection_->catalog.Refresh(connection_);
    if (rc != SQLITE_OK) return rc;
    table_ = connection_->catalog.FindTable(name);
    if (table_ == nullptr || !table_->active) {
      Text message("table ");
      message.Name(name) << " is not replicated here";
      return connection_->Fail("TABLE_NOT_REPLICATED", message, "See `mergelite status`.");
    }
    rc = KeyOrder(connection_, table_, &answer->order);
    if (rc != SQLITE_OK) return rc;
    keys_ = table_->shape->keys.size();
    names_ = KeyNames(keys_);
    answer->more = true;
    // The schema has changed then: the next call finds the tables as they are.
    if (!table_->has_ranges) return Create();
    bool done;
    rc = FoldAndRetryParked(connection_, deadline_, &done);
    if (rc != SQLITE_OK || !done) return rc;
    rc = Refresh(&done);
    answer->more = !done;
    return rc;
  }

  const Table& table() const { return *table_; }

  // Whole ranges by their sums, and what is left at both ends row by row.
  int Digest(const KeyRange& range, RangeDigest* digest) {
    if (range.from.size == 0 && range.to.size == 0) return Sum({}, {}, digest);
    Bytes first, last;
    bool any;
    int rc = Inside(range, &any, &first, &last);
    if (rc != SQLITE_OK) return rc;
    if (!any) return Scan(range, digest);
    if (range.from.size > 0) rc = Scan({range.from, first.span()}, digest);
    if (rc != SQLITE_OK) return rc;
    if (range.to.size == 0) return Sum(first.span(), {}, digest);
    rc = Sum(range.from.size > 0 ? first.span() : Span{}, last.span(), digest);
    return rc == SQLITE_OK ? Scan({last.span(), range.to}, digest) : rc;
  }

  int Split(const KeyRange& range, size_t parts, std::vector<RangePart>* out) {
    Statement query;
    int rc = PrepareStarts(&query, range, "SELECT count(*) FROM ", ">", "");
    if (rc != SQLITE_OK) return rc;
    if ((rc = query.Step()) != SQLITE_ROW) return connection_->Check(rc);
    const auto cuts = static_cast<uint64_t>(query.ColumnInteger(0));
    query.Finalize();
    Text columns("SELECT ");
    columns << names_ << " FROM ";
    rc = PrepareStarts(&query, range, columns.c_str(), ">", " ORDER BY ");
    if (rc != SQLITE_OK) return rc;
    out->emplace_back();
    out->back().from.Append(range.from);
    const uint64_t each = (cuts + parts) / parts;
    for (uint64_t seen = 1; (rc = query.Step()) == SQLITE_ROW; seen++) {
      if (seen % each != 0 || seen > cuts) continue;
      Bytes key;
      ReadKey(&query, 0, &key);
      out->back().to.Append(key.span());
      out->emplace_back();
      out->back().from = static_cast<Bytes&&>(key);
    }
    if (rc != SQLITE_OK) return connection_->Check(rc);
    out->back().to.Append(range.to);
    for (RangePart& part : *out) {
      rc = Digest({part.from.span(), part.to.span()}, &part.digest);
      if (rc != SQLITE_OK) return rc;
    }
    return SQLITE_OK;
  }

 private:
  struct Range {
    int64_t id = 0;
    bool counted = false;
    Bytes from, to;
  };

  int Create() {
    TableInfo info;
    int rc = DescribeTable(connection_, table_->name.c_str(), &info);
    if (rc != SQLITE_OK) return rc;
    Text name, sql("CREATE TABLE ");
    AppendRangesName(&name, table_->name);
    sql << name << " (id INTEGER PRIMARY KEY, shape INTEGER, rows INTEGER, digest INTEGER";
    for (size_t i = 0; i < keys_; i++) {
      sql << ", k" << static_cast<uint64_t>(i) << " ";
      AppendKeyType(&sql, info, i);
    }
    // NULL is below every key and equal to none, so range 1 has its place in this index.
    sql << ", UNIQUE (" << names_ << "))";
    rc = connection_->Execute(sql.c_str());
    if (rc != SQLITE_OK) return rc;
    Text index("CREATE INDEX main.");
    Text index_name("_mergelite_stale_");
    index_name << table_->name;
    Text plain("_mergelite_ranges_");
    plain << table_->name;
    index.Name(index_name.c_str()) << " ON ";
    index.Name(plain.c_str()) << " (id) WHERE digest IS NULL";
    rc = connection_->Execute(index.c_str());
    if (rc != SQLITE_OK) return rc;
    Text first("INSERT INTO ");
    first << name << " (id) VALUES (1)";
    return connection_->Execute(first.c_str());
  }

  int Refresh(bool* done) {
    *done = false;
    Text name, sql;
    AppendRangesName(&name, table_->name);
    Statement query;
    // Under another shape every row has another hash.
    const auto shape = static_cast<uint64_t>(table_->shape_id);
    sql << "UPDATE " << name << " SET digest = NULL, shape = " << shape
        << " WHERE (SELECT shape IS NOT " << shape << " FROM " << name << " WHERE id = 1)";
    int rc = connection_->Execute(sql.c_str());
    if (rc != SQLITE_OK) return rc;
    sql.Clear();
    sql << "SELECT id, rows IS NOT NULL, " << names_ << " FROM " << name
        << " WHERE digest IS NULL ORDER BY id LIMIT 1";
    rc = connection_->Check(query.Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc != SQLITE_OK) return rc;
    while ((rc = query.Step()) == SQLITE_ROW) {
      if (deadline_.Passed()) return connection_->Check(query.Reset());
      Range range;
      range.id = query.ColumnInteger(0);
      range.counted = query.ColumnInteger(1) != 0;
      if (range.id != 1) ReadKey(&query, 2, &range.from);
      rc = connection_->Check(query.Reset());
      if (rc == SQLITE_OK) rc = Recount(&range);
      if (rc != SQLITE_OK) return rc;
    }
    *done = rc == SQLITE_OK;
    return connection_->Check(rc);
  }

  int Recount(Range* range) {
    int rc = NextStart(range->from.span(), &range->to);
    RowScan scan;
    if (rc == SQLITE_OK) {
      rc = scan.Open(connection_, *table_, {range->from.span(), range->to.span()});
    }
    if (rc != SQLITE_OK) return rc;
    const uint64_t most = range->counted ? 2 * kRangeRows : kRangeRows;
    RangeDigest digest, cut_digest;
    Bytes cut;
    while ((rc = scan.Next()) == SQLITE_ROW) {
      if (digest.rows == kRangeRows) {
        cut_digest = digest;
        cut.Clear();
        cut.Append(scan.key());
      }
      digest.rows++;
      digest.sum += scan.hash();
      if (digest.rows > most) return Cut(*range, cut.span(), cut_digest);
    }
    if (rc != SQLITE_OK) return rc;
    if (range->counted && digest.rows < kRangeRowsMin && range->to.size() > 0)
      return TakeIn(*range);
    return Save(*range, digest);
  }

  int Cut(const Range& range, Span at, const RangeDigest& digest) {
    Text sql("INSERT INTO ");
    AppendRangesName(&sql, table_->name);
    sql << " (shape, " << names_ << ") VALUES (" << static_cast<uint64_t>(table_->shape_id);
    for (uint64_t i = 1; i <= keys_; i++) sql << ", ?" << i;
    sql << ")";
    const int rc = RunWithKey(sql, at);
    return rc == SQLITE_OK ? Save(range, digest) : rc;
  }

  int TakeIn(const Range& range) {
    Text sql("DELETE FROM ");
    AppendRangesName(&sql, table_->name);
    AppendKeyBound(&(sql << " WHERE "), names_, "=", 1, keys_);
    return RunWithKey(sql, range.to.span());
  }

  int RunWithKey(const Text& sql, Span key) {
    Statement statement;
    int rc = connection_->Check(statement.Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc == SQLITE_OK) rc = BindKeyBytes(connection_, &statement, 1, key, keys_);
    return rc == SQLITE_OK ? connection_->Check(statement.Run()) : rc;
  }

  int Save(const Range& range, const RangeDigest& digest) {
    Text sql("UPDATE ");
    AppendRangesName(&sql, table_->name);
    sql << " SET rows = ?1, digest = ?2 WHERE id = ?3";
    Statement statement;
    const int rc =
        connection_->Check(statement.Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc != SQLITE_OK) return rc;
    statement.Integer(1, static_cast<int64_t>(digest.rows));
    statement.Integer(2, static_cast<int64_t>(digest.sum));
    statement.Integer(3, range.id);
    return connection_->Check(statement.Run());
  }

  // Where the range after the one of this start begins; empty when there is none.
  int NextStart(Span from, Bytes* to) {
    Text columns("SELECT ");
    columns << names_ << " FROM ";
    Statement query;
    int rc = PrepareStarts(&query, {from, {}}, columns.c_str(), ">", " ORDER BY ");
    if (rc == SQLITE_OK && (rc = query.Step()) == SQLITE_ROW) {
      ReadKey(&query, 0, to);
      rc = query.Reset();
    }
    return connection_->Check(rc);
  }

  // The first and the last start within both bounds, both included.
  int Inside(const KeyRange& range, bool* any, Bytes* first, Bytes* last) {
    *any = false;
    Text columns("SELECT ");
    columns << names_ << " FROM ";
    for (const bool descending : {false, true}) {
      Statement query;
      int rc = PrepareStarts(&query, range, columns.c_str(), ">=", " ORDER BY ", descending);
      if (rc != SQLITE_OK) return rc;
      rc = query.Step();
      if (rc != SQLITE_ROW) return connection_->Check(rc);
      *any = true;
      ReadKey(&query, 0, descending ? last : first);
    }
    return SQLITE_OK;
  }

  // Starts from `from` on, compared by `lower`, up to `to`. Range 1 has no start.
  int PrepareStarts(Statement* query, const KeyRange& range, const char* select, const char* lower,
                    const char* order, bool descending = false) {
    Text sql(select);
    AppendRangesName(&sql, table_->name);
    sql << " WHERE k0 IS NOT NULL";
    if (range.from.size > 0) AppendKeyBound(&(sql << " AND "), names_, lower, 1, keys_);
    // A part that ends where a range begins ends with a whole range.
    const char* upper = lower[1] == '=' ? "<=" : "<";
    if (range.to.size > 0) AppendKeyBound(&(sql << " AND "), names_, upper, keys_ + 1, keys_);
    for (size_t i = 0; *order != 0 && i < keys_; i++) {
      sql << (i == 0 ? order : ", ") << "k" << static_cast<uint64_t>(i)
          << (descending ? " DESC" : "");
    }
    int rc = connection_->Check(query->Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc == SQLITE_OK && range.from.size > 0) {
      rc = BindKeyBytes(connection_, query, 1, range.from, keys_);
    }
    if (rc == SQLITE_OK && range.to.size > 0) {
      rc = BindKeyBytes(connection_, query, static_cast<int>(keys_) + 1, range.to, keys_);
    }
    return rc;
  }

  // Of whole ranges that begin from `from` on and before `to`.
  int Sum(Span from, Span to, RangeDigest* digest) {
    Text sql("SELECT rows, digest FROM ");
    AppendRangesName(&sql, table_->name);
    const char* separator = " WHERE ";
    if (from.size > 0) {
      AppendKeyBound(&(sql << separator), names_, ">=", 1, keys_);
      separator = " AND ";
    }
    if (to.size > 0) {
      AppendKeyBound(&(sql << separator << "(id = 1 OR "), names_, "<", keys_ + 1, keys_);
      sql << ")";
    }
    Statement query;
    int rc = connection_->Check(query.Prepare(connection_->api, connection_->db, sql.c_str()));
    if (rc == SQLITE_OK && from.size > 0) rc = BindKeyBytes(connection_, &query, 1, from, keys_);
    if (rc == SQLITE_OK && to.size > 0) {
      rc = BindKeyBytes(connection_, &query, static_cast<int>(keys_) + 1, to, keys_);
    }
    if (rc != SQLITE_OK) return rc;
    while ((rc = query.Step()) == SQLITE_ROW) {
      digest->rows += static_cast<uint64_t>(query.ColumnInteger(0));
      digest->sum += static_cast<uint64_t>(query.ColumnInteger(1));
    }
    return connection_->Check(rc);
  }

  int Scan(const KeyRange& range, RangeDigest* digest) {
    RowScan scan;
    int rc = scan.Open(connection_, *table_, range);
    if (rc != SQLITE_OK) return rc;
    while ((rc = scan.Next()) == SQLITE_ROW) {
      digest->rows++;
      digest->sum += scan.hash();
    }
    return rc;
  }

  void ReadKey(Statement* query, int first, Bytes* key) {
    key->Clear();
    for (size_t i = 0; i < keys_; i++) {
      Value value;
      query->ColumnAny(first + static_cast<int>(i), &value);
      AppendValue(key, value);
    }
  }

  Connection* connection_;
  Deadline deadline_;
  Table* table_ = nullptr;
  size_t keys_ = 0;
  Text names_;
};

// Ranges are read and written under the write lock, with row clocks that know everything merged.
template <class Answer>
int WithRanges(Connection* connection, const char* table, double budget_ms, RangeAnswer* answer,
               Answer run) {
  MergeStats stats;
  const int rc = InMergeTransaction(connection, &stats, false, [&] {
    TableRanges ranges(connection, budget_ms);
    const int opened = ranges.Open(table, answer);
    return opened != SQLITE_OK || answer->more ? opened : run(ranges);
  });
  answer->busy = stats.busy;
  return rc;
}

}  // namespace

int SplitRange(Connection* connection, const char* table, const KeyRange& range, size_t parts,
               double budget_ms, RangeAnswer* answer) {
  return WithRanges(connection, table, budget_ms, answer, [&](TableRanges& ranges) {
    return ranges.Split(range, parts, &answer->parts);
  });
}

int ListRange(Connection* connection, const char* table, const KeyRange& range, size_t limit,
              double budget_ms, RangeAnswer* answer) {
  return WithRanges(connection, table, budget_ms, answer, [&](TableRanges& ranges) {
    RowScan scan;
    size_t bytes = 0;
    int rc = scan.Open(connection, ranges.table(), range);
    while (rc == SQLITE_OK && (rc = scan.Next()) == SQLITE_ROW) {
      rc = SQLITE_OK;
      if (answer->rows.size() == limit || bytes >= kListBytesMax) return rc;
      answer->rows.emplace_back();
      answer->rows.back().key.Append(scan.key());
      answer->rows.back().hash = scan.hash();
      bytes += scan.key().size;
    }
    answer->done = rc == SQLITE_OK;
    return rc;
  });
}

}  // namespace mergelite
