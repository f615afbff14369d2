#include "schema_rows.h"

#include <algorithm>

#include "connection.h"

namespace mergelite {
namespace {

constexpr const char* kAll =
    "SELECT rowid, type, name, sql, tbl_name, rootpage = 0 AND type = 'table' FROM "
    "main.sqlite_schema UNION ALL SELECT -1, type, name, sql, tbl_name, 0 FROM temp.sqlite_schema";
// Digests of its ranges, and virtual tables of which it may be a part, belong to a table as well.
constexpr const char* kOne =
    "SELECT rowid, type, name, sql, tbl_name, rootpage = 0 AND type = 'table' FROM "
    "main.sqlite_schema WHERE tbl_name COLLATE NOCASE IN (?1, '_mergelite_ranges_' || ?1) OR "
    "(rootpage = 0 AND type = 'table' AND instr(lower(?1), lower(name) || '_') = 1) UNION ALL "
    "SELECT -1, type, name, sql, tbl_name, 0 FROM temp.sqlite_schema WHERE tbl_name = ?1 COLLATE "
    "NOCASE";

uint64_t HashOf(Statement* query) {
  Bytes bytes;
  bytes.Varint(static_cast<uint64_t>(query->ColumnInteger(0)));
  bytes.Append(query->ColumnBytes(2));
  bytes.Append(query->ColumnBytes(3));
  // Never 0: a sum of 0 means that nothing is known.
  return Hash64(bytes.span()) | 1;
}

}  // namespace

int SchemaRows::Read(Connection* connection, const char* only) {
  texts_.Clear();
  rows_.clear();
  Statement query;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db, only == nullptr ? kAll : kOne));
  if (rc != SQLITE_OK) return rc;
  if (only != nullptr) query.String(1, only);
  while ((rc = query.Step()) == SQLITE_ROW) {
    rc = Add(&query);
    if (rc != SQLITE_OK) return rc;
  }
  if (rc != SQLITE_OK) return connection->Check(rc);
  std::sort(rows_.begin(), rows_.end(), [this](const Row& a, const Row& b) {
    const int order = CompareNames(TextAt(a.table), TextAt(b.table));
    return order != 0 ? order < 0 : a.age != b.age ? a.age < b.age : a.name < b.name;
  });
  return SQLITE_OK;
}

int SchemaRows::Add(Statement* query) {
  if (texts_.size() > UINT32_MAX / 2) return SQLITE_TOOBIG;
  Row row{};
  row.age = query->ColumnInteger(0);
  row.hash = HashOf(query);
  row.table = Keep(query->ColumnText(4));
  row.name = Keep(query->ColumnText(2));
  const char* type = query->ColumnText(1);
  row.kind = type[0] == 't' && type[1] == 'r' ? 'r' : type[0];
  row.virtual_table = query->ColumnInteger(5) != 0;
  row.sql = Keep(row.kind == 't' || row.kind == 'i' ? query->ColumnText(3) : "");
  rows_.push_back(row);
  return SQLITE_OK;
}

uint32_t SchemaRows::Keep(const char* text) {
  const auto offset = static_cast<uint32_t>(texts_.size());
  texts_.Append(text, strlen(text) + 1);
  return offset;
}

SchemaRows::Range SchemaRows::Of(const char* table) const {
  const auto first =
      std::lower_bound(rows_.begin(), rows_.end(), table, [this](const Row& row, const char* name) {
        return CompareNames(TextAt(row.table), name) < 0;
      });
  auto last = first;
  while (last != rows_.end() && SameName(TextAt(last->table), table)) ++last;
  const Row* base = rows_.data();
  return {base + (first - rows_.begin()), base + (last - rows_.begin())};
}

bool SchemaRows::MayBeShadow(const char* table) const {
  Text prefix;
  for (const char* at = table; *at != 0; at++) {
    if (*at == '_') {
      for (const Row& row : Of(prefix.c_str())) {
        if (row.virtual_table) return true;
      }
    }
    prefix.Add({reinterpret_cast<const uint8_t*>(at), 1});
  }
  return false;
}

}  // namespace mergelite
