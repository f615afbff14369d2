// How the shapes of peers meet the tables of this file.
#include "connection.h"
#include "merge.h"
#include "table_sql.h"

namespace mergelite {
namespace {

// Statements kept a shape for updates of different sets of columns.
constexpr size_t kWritesMax = 32;

bool Bit(const uint8_t* bitmap, size_t index) {
  return (bitmap[index / 8] >> (index % 8) & 1) != 0;
}

Text UpsertSql(const Target& target, const Bytes& columns) {
  const Table& table = *target.table;
  const Shape& shape = *table.shape;
  // OR ABORT: what a table's own ON CONFLICT clauses say must not remove rows unseen.
  Text sql("INSERT OR ABORT INTO "), values;
  AppendTableName(&sql, table);
  sql << " (";
  AppendKeyNames(&sql, shape);
  uint64_t parameter = 1;
  values << "?1";
  while (parameter < shape.keys.size()) values << ", ?" << ++parameter;
  for (int known : target.columns) {
    if (known < 0) continue;
    const auto column = static_cast<size_t>(known);
    (sql << ", ").Name(shape.columns[column].c_str());
    values << ", ";
    AppendColumnValue(&values, table, column, ++parameter);
  }
  sql << ") VALUES (" << values << ") ON CONFLICT (";
  for (size_t i = 0; i < shape.keys.size(); i++) {
    if (i > 0) sql << ", ";
    sql.Name(shape.keys[i].name.c_str());
    if (shape.keys[i].collation == Collation::kNoCase) sql << " COLLATE NOCASE";
    if (shape.keys[i].collation == Collation::kRtrim) sql << " COLLATE RTRIM";
  }
  sql << ") DO ";
  // Columns the peer's shape lacks go back to their defaults: that is what `excluded` has there.
  const char* separator = "UPDATE SET ";
  for (size_t i = 0; i < shape.columns.size(); i++) {
    if (!Bit(columns.data(), i)) continue;
    (sql << separator).Name(shape.columns[i].c_str()) << " = excluded.";
    sql.Name(shape.columns[i].c_str());
    separator = ", ";
  }
  // Where one key has several spellings, that of the newest insert counts.
  for (size_t i = 0; !table.binary_key && i < shape.keys.size(); i++) {
    (sql << separator).Name(shape.keys[i].name.c_str()) << " = excluded.";
    sql.Name(shape.keys[i].name.c_str());
    separator = ", ";
  }
  if (separator[0] == 'U') sql << "NOTHING";
  return sql;
}

Text UpdateSql(const Target& target, const Bytes& columns) {
  const Table& table = *target.table;
  const Shape& shape = *table.shape;
  Text sql("UPDATE OR ABORT ");
  AppendTableName(&sql, table);
  uint64_t parameter = shape.keys.size();
  const char* separator = " SET ";
  for (int known : target.columns) {
    if (known < 0) continue;
    const auto column = static_cast<size_t>(known);
    if (!Bit(columns.data(), column)) continue;
    (sql << separator).Name(shape.columns[column].c_str()) << " = ";
    AppendColumnValue(&sql, table, column, ++parameter);
    separator = ", ";
  }
  sql << " WHERE ";
  AppendKeyCondition(&sql, shape);
  return sql;
}

// A column has the name it has here, or one it had before. Should a peer have columns of both
// names, the present one is it.
void MatchColumns(Target* target) {
  const Shape& shape = *target->shape;
  const Table& table = *target->table;
  std::vector<bool> taken(table.shape->columns.size(), false);
  for (bool exact : {true, false}) {
    for (size_t i = 0; i < shape.columns.size(); i++) {
      const int column = table.FindColumn(shape.columns[i].c_str());
      if (target->columns[i] >= 0 || column < 0) continue;
      const auto at = static_cast<size_t>(column);
      const bool same = SameName(shape.columns[i].c_str(), table.shape->columns[at].c_str());
      if (same != exact || taken[at]) continue;
      target->columns[i] = column;
      taken[at] = true;
    }
  }
  for (int column : target->columns) {
    if (column < 0) target->knows_all_columns = false;
  }
}

}  // namespace

int ResolveTarget(Connection* connection, const Shape* shape, Target** out) {
  MergeState& merge = *connection->merge;
  Catalog& catalog = connection->catalog;
  Target* target = nullptr;
  for (auto& known : merge.targets) {
    if (known->shape == shape) target = known.get();
  }
  if (target == nullptr) {
    merge.targets.push_back(std::make_unique<Target>());
    target = merge.targets.back().get();
    target->shape = shape;
  }
  *out = target;
  if (target->schema_version == catalog.schema_version()) return SQLITE_OK;
  target->schema_version = -1;
  target->writes.clear();
  target->fresh_rows.Finalize();
  target->fresh_clocks.Finalize();
  target->columns.assign(shape->columns.size(), -1);
  target->knows_all_columns = true;
  target->table = nullptr;
  Table* table = catalog.FindReplicated(shape->table.c_str());
  if (table != nullptr) {
    const int rc = catalog.Check(connection, table);
    if (rc != SQLITE_OK) return rc;
  }
  target->schema_version = catalog.schema_version();
  if (table == nullptr) return SQLITE_OK;
  if (table->shape->keys.size() != shape->keys.size()) return SQLITE_OK;
  for (size_t i = 0; i < shape->keys.size(); i++) {
    if (table->FindKey(shape->keys[i].name.c_str()) != static_cast<int>(i)) return SQLITE_OK;
    // Under another collation other keys are one row.
    if (table->shape->keys[i].collation != shape->keys[i].collation) return SQLITE_OK;
  }
  target->table = table;
  MatchColumns(target);
  return SQLITE_OK;
}

int FindWrite(Connection* connection, Target* target, bool insert, const Bytes& columns,
              Target::Write** write) {
  for (auto& candidate : target->writes) {
    if (candidate->insert == insert && candidate->columns.span() == columns.span()) {
      *write = candidate.get();
      return SQLITE_OK;
    }
  }
  auto made = std::make_unique<Target::Write>();
  made->insert = insert;
  made->columns.Append(columns.span());
  const Text sql = insert ? UpsertSql(*target, columns) : UpdateSql(*target, columns);
  const int rc = connection->Prepare(&made->statement, sql.c_str());
  if (rc != SQLITE_OK) return rc;
  *write = made.get();
  if (target->writes.size() < kWritesMax) {
    target->writes.push_back(static_cast<std::unique_ptr<Target::Write>&&>(made));
  } else {
    target->writes[target->next_victim++ % kWritesMax] =
        static_cast<std::unique_ptr<Target::Write>&&>(made);
  }
  return SQLITE_OK;
}

}  // namespace mergelite
