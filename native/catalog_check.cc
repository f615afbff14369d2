// What a schema change may have altered of replicated tables.
#include "connection.h"
#include "schema_rows.h"
#include "triggers.h"

namespace mergelite {
namespace {

// Where so many tables are looked at one by one, the others will be too.
constexpr size_t kSinglesMax = 8;

bool HasRanges(const SchemaRows& schema, const Table& table) {
  Text name("_mergelite_ranges_");
  name << table.name;
  const SchemaRows::Range rows = schema.Of(name.c_str());
  return rows.begin() != rows.end();
}

}  // namespace

int Catalog::CheckOne(Connection* connection, Table* table) {
  if (single_version_ != schema_version_) {
    single_version_ = schema_version_;
    singles_ = 0;
  }
  if (++singles_ > kSinglesMax && table->active) return CheckAll(connection);
  SchemaRows schema;
  const int rc = schema.Read(connection, table->name.c_str());
  return rc == SQLITE_OK ? Describe(connection, schema, table) : rc;
}

int Catalog::Describe(Connection* connection, const SchemaRows& schema, Table* table) {
  TableInfo info;
  int rc = DescribeTable(connection, table->name.c_str(), schema, &info);
  if (rc != SQLITE_OK) return rc;
  table->FinalizeStatements();
  table->lost_triggers = info.own_triggers == 0;
  table->stale = info.kind != TableInfo::Kind::kTable || info.shape.hash != table->shape->hash ||
                 info.own_triggers != CountTriggers(info, table->old_values);
  table->outranked = info.outranked;
  table->signature = info.signature;
  table->integer_key = info.integer_key;
  table->has_user_triggers = info.has_user_triggers;
  table->key_order = 0;
  table->has_unique_indexes = !info.unique_indexes.empty();
  table->null_defaults.clear();
  for (const Text& column : table->shape->columns) {
    table->null_defaults.emplace_back();
    for (size_t i = 0; i < info.shape.columns.size(); i++) {
      if (!info.not_null[i] || !SameName(info.shape.columns[i].c_str(), column.c_str())) continue;
      table->null_defaults.back() << info.defaults[i];
    }
  }
  table->binary_key = true;
  for (size_t i = 0; i < info.shape.keys.size(); i++) {
    // Without an affinity that converts numbers, 5 and 5.0 are two spellings as 'a' and 'A' are.
    if (info.shape.keys[i].collation != Collation::kBinary ||
        SameName(info.key_types[i].c_str(), "BLOB")) {
      table->binary_key = false;
    }
  }
  Statement query;
  Text sql("SELECT NOT EXISTS (SELECT 1 FROM main.");
  Text name("_mergelite_clock_");
  name << table->name;
  sql.Name(name.c_str()) << ")";
  rc = connection->Check(query.Prepare(connection->api, connection->db, sql.c_str()));
  if (rc != SQLITE_OK) return rc;
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  table->clocks_empty = query.ColumnInteger(0) != 0;
  table->has_ranges = HasRanges(schema, *table);
  table->checked_version = schema_version_;
  return SQLITE_OK;
}

int Catalog::CheckAll(Connection* connection) {
  bool checked = true;
  for (auto& table : tables_) {
    checked = checked && (!table->active || table->checked_version == schema_version_);
  }
  if (checked) return SQLITE_OK;
  SchemaRows schema;
  int rc = schema.Read(connection, nullptr);
  for (size_t i = 0; rc == SQLITE_OK && i < tables_.size(); i++) {
    Table* table = tables_[i].get();
    if (!table->active || table->checked_version == schema_version_) continue;
    uint64_t signature = 0;
    for (const SchemaRows::Row& row : schema.Of(table->name.c_str())) signature += row.hash;
    if (table->signature == 0 || table->signature != signature) {
      rc = Describe(connection, schema, table);
      continue;
    }
    // Digests of ranges come and go without the table itself changing.
    table->has_ranges = HasRanges(schema, *table);
    table->checked_version = schema_version_;
  }
  return connection->Check(rc);
}

}  // namespace mergelite
