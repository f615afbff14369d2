#include "triggers.h"

#include "connection.h"

namespace mergelite {
namespace {

// An SQL function takes at most SQLITE_LIMIT_FUNCTION_ARG parameters, 127 in older builds.
constexpr size_t kFunctionParametersMax = 120;
// An update calls capture for groups of columns: few enough that unchanged ones cost little, enough
// that a row with many changed ones does not fire many triggers.
constexpr size_t kFewColumns = 8;
size_t ColumnsPerTrigger(const Shape& shape) { return shape.columns.size() <= kFewColumns ? 2 : 4; }

size_t ColumnGroups(const Shape& shape) {
  return (shape.columns.size() + ColumnsPerTrigger(shape) - 1) / ColumnsPerTrigger(shape);
}

constexpr const char* kRowidNames[] = {"rowid", "oid", "_rowid_"};

bool HasColumn(const TableInfo& info, const char* name) {
  for (const KeyColumn& key : info.shape.keys) {
    if (SameName(key.name.c_str(), name)) return true;
  }
  for (const std::vector<Text>* columns : {&info.shape.columns, &info.generated}) {
    for (const Text& column : *columns) {
      if (SameName(column.c_str(), name)) return true;
    }
  }
  return false;
}

// A name of the rowid beside the key, null when there is no rowid or no name left to use it by.
const char* OtherRowid(const TableInfo& info) {
  if (!info.has_rowid || info.integer_key) return nullptr;
  for (const char* name : kRowidNames) {
    if (!HasColumn(info, name)) return name;
  }
  return nullptr;
}

class TriggerWriter {
 public:
  TriggerWriter(Connection* connection, const TableInfo& info, const Wiring& wiring)
      : connection_(connection), info_(info), shape_(info.shape), wiring_(wiring) {}

  int Write() {
    int rc = Insert();
    if (rc == SQLITE_OK) rc = Delete();
    // SQLite fires the youngest trigger first: made from the last group to the first they run in
    // column order, and their patches join. The key's trigger is made last, to run before them.
    for (size_t group = ColumnGroups(shape_); rc == SQLITE_OK && group-- > 0;) rc = Columns(group);
    if (rc == SQLITE_OK) rc = Key();
    for (size_t i = 0; rc == SQLITE_OK && i < info_.unique_indexes.size(); i++) {
      rc = Candidates(i, true);
      if (rc == SQLITE_OK) rc = Candidates(i, false);
    }
    if (rc == SQLITE_OK) rc = RowidCandidates(true);
    if (rc == SQLITE_OK) rc = RowidCandidates(false);
    if (rc != SQLITE_OK || !wiring_.old_values) return rc;
    // The youngest, to run before anything changes.
    rc = Before("INSERT", "before_insert", {"NEW"});
    if (rc == SQLITE_OK) rc = Before("UPDATE", "before_update", {"OLD", "NEW"});
    return rc == SQLITE_OK ? Before("DELETE", "before_delete", {"OLD"}) : rc;
  }

 private:
  Text Begin(const char* what, size_t number) const {
    Text name("_mergelite_");
    name << what;
    if (number > 0) name << "_" << number;
    name << "_" << info_.name;
    Text sql("CREATE TRIGGER main.");
    sql.Name(name.c_str());
    return sql;
  }

  Text& Literal(Text* sql, CaptureOp op) const {
    // Always positive: the tag has 40 bits.
    return *sql << static_cast<uint64_t>(CaptureLiteral(wiring_.tag, wiring_.shape_id, op));
  }

  void Keys(Text* sql, const char* row) const {
    for (const KeyColumn& key : shape_.keys) (*sql << ", " << row << ".").Name(key.name.c_str());
  }

  // Begins a call from a trigger of an UPDATE or a DELETE.
  int Row(Text* sql, size_t parameters) const {
    if (parameters > kFunctionParametersMax) return TableFunction(sql, parameters);
    *sql << "SELECT mergelite_capture_row(";
    return SQLITE_OK;
  }

  int TableFunction(Text* sql, size_t parameters) const {
    for (int width : kCaptureWidths) {
      if (static_cast<size_t>(width) < parameters) continue;
      *sql << "SELECT 1 FROM mergelite_capture_" << static_cast<uint64_t>(width) << "(";
      return SQLITE_OK;
    }
    return connection_->Fail("TABLE_TOO_WIDE", "the table has more columns than capture can pass",
                             "Split the table.");
  }

  int Insert() const {
    Text sql = Begin("insert", 0);
    sql << " AFTER INSERT ON ";
    sql.Name(info_.name.c_str()) << " BEGIN ";
    const size_t parameters = 1 + shape_.keys.size() + shape_.columns.size();
    if (parameters <= kFunctionParametersMax) {
      sql << "SELECT mergelite_capture(";
    } else {
      const int rc = TableFunction(&sql, parameters);
      if (rc != SQLITE_OK) return rc;
    }
    Literal(&sql, CaptureOp::kInsert);
    Keys(&sql, "NEW");
    for (const Text& column : shape_.columns) (sql << ", NEW.").Name(column.c_str());
    sql << "); END";
    return connection_->Execute(sql.c_str());
  }

  int Delete() const {
    Text sql = Begin("delete", 0);
    sql << " AFTER DELETE ON ";
    sql.Name(info_.name.c_str()) << " BEGIN ";
    const int rc = Row(&sql, 1 + shape_.keys.size());
    if (rc != SQLITE_OK) return rc;
    Literal(&sql, CaptureOp::kDelete);
    Keys(&sql, "OLD");
    sql << "); END";
    return connection_->Execute(sql.c_str());
  }

  int Columns(size_t group) const {
    const size_t most = ColumnsPerTrigger(shape_);
    const size_t first = group * most;
    const size_t left = shape_.columns.size() - first;
    const size_t count = left < most ? left : most;
    Text sql = Begin("update", group + 1);
    sql << " AFTER UPDATE OF ";
    for (size_t i = 0; i < count; i++) {
      if (i > 0) sql << ", ";
      sql.Name(shape_.columns[first + i].c_str());
    }
    sql << " ON ";
    sql.Name(info_.name.c_str()) << " BEGIN ";
    const int rc = Row(&sql, 2 + shape_.keys.size() + 2 * count);
    if (rc != SQLITE_OK) return rc;
    Literal(&sql, CaptureOp::kColumns);
    Keys(&sql, "NEW");
    sql << ", " << static_cast<uint64_t>(first);
    for (size_t i = first; i < first + count; i++) {
      (sql << ", OLD.").Name(shape_.columns[i].c_str());
      (sql << ", NEW.").Name(shape_.columns[i].c_str());
    }
    sql << "); END";
    return connection_->Execute(sql.c_str());
  }

  int Key() const {
    Text sql = Begin("key", 0);
    sql << " AFTER UPDATE OF ";
    for (size_t i = 0; i < shape_.keys.size(); i++) {
      if (i > 0) sql << ", ";
      sql.Name(shape_.keys[i].name.c_str());
    }
    // An assignment to the rowid under one of its other names changes the key as well.
    if (info_.integer_key) {
      for (const char* alias : kRowidNames) {
        if (!HasColumn(info_, alias)) (sql << ", ").Name(alias);
      }
    }
    sql << " ON ";
    sql.Name(info_.name.c_str()) << " BEGIN ";
    const int rc = Row(&sql, 1 + 2 * shape_.keys.size() + shape_.columns.size());
    if (rc != SQLITE_OK) return rc;
    Literal(&sql, CaptureOp::kKey);
    Keys(&sql, "OLD");
    Keys(&sql, "NEW");
    for (const Text& column : shape_.columns) (sql << ", NEW.").Name(column.c_str());
    sql << "); END";
    return connection_->Execute(sql.c_str());
  }

  // Rows are noted by their keys before they change, and read then.
  int Before(const char* event, const char* name, std::initializer_list<const char*> rows) const {
    Text sql = Begin(name, 0);
    sql << " BEFORE " << event << " ON ";
    sql.Name(info_.name.c_str()) << " BEGIN ";
    const int rc = Row(&sql, 1 + rows.size() * shape_.keys.size());
    if (rc != SQLITE_OK) return rc;
    Literal(&sql, CaptureOp::kBefore);
    for (const char* row : rows) Keys(&sql, row);
    sql << "); END";
    return connection_->Execute(sql.c_str());
  }

  // Begins a trigger that notes rows of the table, which REPLACE may be about to remove. Whether it
  // really did shows when the transaction is written.
  void NoteRows(Text* sql) const {
    *sql << " BEGIN SELECT mergelite_capture(";
    Literal(sql, CaptureOp::kCandidate);
    for (const KeyColumn& key : shape_.keys) (*sql << ", ").Name(key.name.c_str());
    *sql << ") FROM ";
    sql->Name(info_.name.c_str()) << " WHERE ";
  }

  // Rows that hold what the new row is about to hold in a UNIQUE index.
  int Candidates(size_t number, bool insert) const {
    const TableInfo::UniqueIndex& index = info_.unique_indexes[number];
    Text sql = Begin(insert ? "replace_insert" : "replace_update", number + 1);
    sql << (insert ? " BEFORE INSERT" : " BEFORE UPDATE");
    for (size_t i = 0; !insert && !index.of_any_column && i < index.terms.size(); i++) {
      sql << (i > 0 ? ", " : " OF ");
      sql.Name(index.terms[i].column.c_str());
    }
    sql << " ON ";
    sql.Name(info_.name.c_str());
    NoteRows(&sql);
    for (size_t i = 0; i < index.terms.size(); i++) {
      if (i > 0) sql << " AND ";
      Equal(&sql, index.terms[i]);
    }
    // With its condition SQLite can use a partial index.
    if (!index.condition.empty()) sql << " AND (" << index.condition << ")";
    if (!insert) {
      for (size_t i = 0; i < shape_.keys.size(); i++) {
        (sql << (i == 0 ? " AND NOT (" : " AND ")).Name(shape_.keys[i].name.c_str()) << " IS OLD.";
        sql.Name(shape_.keys[i].name.c_str());
      }
      sql << ")";
    }
    sql << "; END";
    return connection_->Execute(sql.c_str());
  }

  // An expression is computed over a subquery whose columns have the names of the table's and the
  // values of the new row.
  void Equal(Text* sql, const TableInfo::UniqueIndex::Term& term) const {
    if (term.expression.empty()) {
      sql->Name(term.column.c_str()) << " = NEW.";
      sql->Name(term.column.c_str());
    } else {
      *sql << "(" << term.expression << ") = (SELECT " << term.expression << " FROM (SELECT ";
      bool first = true;
      auto column = [&](const Text& name) {
        (*sql << (first ? "NEW." : ", NEW.")).Name(name.c_str()) << " AS ";
        sql->Name(name.c_str());
        first = false;
      };
      for (const KeyColumn& key : shape_.keys) column(key.name);
      for (const Text& name : shape_.columns) column(name);
      for (const Text& name : info_.generated) column(name);
      *sql << "))";
    }
    (*sql << " COLLATE ").Name(term.collation.c_str());
  }

  // The rowid of a table with another key is unique as well. Before an insert it is -1 when SQLite
  // is to choose one, and looking for that in vain would cost a tenth of the insert.
  int RowidCandidates(bool insert) const {
    const char* rowid = OtherRowid(info_);
    if (rowid == nullptr) return SQLITE_OK;
    Text sql = Begin(insert ? "rowid_insert" : "rowid_update", 0);
    sql << (insert ? " BEFORE INSERT" : " BEFORE UPDATE");
    for (const char* alias : kRowidNames) {
      if (!insert && !HasColumn(info_, alias)) sql << (alias == rowid ? " OF " : ", ") << alias;
    }
    sql << " ON ";
    sql.Name(info_.name.c_str());
    if (insert) sql << " WHEN NEW." << rowid << " <> -1";
    NoteRows(&sql);
    sql << rowid << " = NEW." << rowid;
    if (!insert) sql << " AND " << rowid << " <> OLD." << rowid;
    sql << "; END";
    return connection_->Execute(sql.c_str());
  }

  Connection* connection_;
  const TableInfo& info_;
  const Shape& shape_;
  const Wiring& wiring_;
};

// Drops the triggers that a query names.
int DropSelected(Connection* connection, Statement* query) {
  std::vector<Text> statements;
  int rc;
  while ((rc = query->Step()) == SQLITE_ROW) {
    Text sql("DROP TRIGGER main.");
    sql.Name(query->ColumnText(0));
    statements.push_back(static_cast<Text&&>(sql));
  }
  if (rc != SQLITE_OK) return connection->Check(rc);
  for (const Text& sql : statements) {
    rc = connection->Execute(sql.c_str());
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

}  // namespace

int CreateTriggers(Connection* connection, const TableInfo& info, const Wiring& wiring) {
  const int rc = info.own_triggers == 0 ? SQLITE_OK : DropTriggers(connection, info.name.c_str());
  if (rc != SQLITE_OK) return rc;
  return TriggerWriter(connection, info, wiring).Write();
}

size_t CountTriggers(const TableInfo& info, bool old_values) {
  // Insert, delete and key; then the groups of columns; then two for each UNIQUE index, and for a
  // rowid that is not the key; and three for old values.
  const size_t unique = info.unique_indexes.size() + (OtherRowid(info) == nullptr ? 0 : 1);
  return 3 + ColumnGroups(info.shape) + 2 * unique + (old_values ? 3 : 0);
}

int DropTriggers(Connection* connection, const char* table) {
  Statement query;
  const int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT name FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE "
      "NOCASE AND substr(name, 1, 11) = '_mergelite_'"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, table);
  return DropSelected(connection, &query);
}

int DropStrayTriggers(Connection* connection) {
  Statement query;
  const int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT name FROM main.sqlite_schema AS s WHERE type = 'trigger' AND substr(name, 1, 11) = "
      "'_mergelite_' AND NOT EXISTS (SELECT 1 FROM main._mergelite_tables AS t WHERE t.active AND "
      "t.name = s.tbl_name)"));
  return rc == SQLITE_OK ? DropSelected(connection, &query) : rc;
}

}  // namespace mergelite
