// Which ranges have to be read again.
#include "connection.h"
#include "merge.h"
#include "ranges.h"
#include "table_sql.h"

namespace mergelite {
namespace {

int AnyCounted(Connection* connection, const Text& table, bool* any) {
  Text sql("SELECT EXISTS (SELECT 1 FROM ");
  AppendRangesName(&sql, table);
  sql << " WHERE digest IS NOT NULL)";
  Statement query;
  int rc = connection->Check(query.Prepare(connection->api, connection->db, sql.c_str()));
  if (rc != SQLITE_OK) return rc;
  rc = query.Step();
  *any = rc == SQLITE_ROW && query.ColumnInteger(0) != 0;
  return rc == SQLITE_ROW ? SQLITE_OK : connection->Check(rc);
}

}  // namespace

void AppendRangesName(Text* sql, const Text& table) {
  Text name("_mergelite_ranges_");
  name << table;
  (*sql << "main.").Name(name.c_str());
}

int TouchRanges(Connection* connection, Table* table, Feed* feed) {
  bool any;
  int rc = AnyCounted(connection, table->name, &any);
  if (rc != SQLITE_OK || !any) return rc;
  const size_t keys = table->shape->keys.size();
  Text starts, values;
  for (uint64_t i = 0; i < keys; i++) {
    starts << (i > 0 ? ", k" : "k") << i;
    values << (i > 0 ? ", feed.v" : "feed.v") << i;
  }
  Text name, sql("UPDATE ");
  AppendRangesName(&name, table->name);
  sql << name << " SET digest = NULL WHERE digest IS NOT NULL AND id IN (SELECT coalesce((SELECT "
      << "id FROM " << name << " WHERE (" << starts << ") <= (" << values << ") ORDER BY ";
  for (uint64_t i = 0; i < keys; i++) sql << (i > 0 ? ", k" : "k") << i << " DESC";
  // Keys below every start are those of the first range.
  sql << " LIMIT 1), 1) FROM ";
  AppendFeedName(&sql, keys);
  sql << "(?1) AS feed)";
  Statement statement;
  rc = connection->Check(statement.Prepare(connection->api, connection->db, sql.c_str()));
  if (rc == SQLITE_OK) rc = BindFeed(&statement, 1, feed);
  return rc == SQLITE_OK ? connection->Check(statement.Run()) : rc;
}

int TouchAllRanges(Connection* connection, const Table& table) {
  if (!table.has_ranges) return SQLITE_OK;
  Text sql("UPDATE ");
  AppendRangesName(&sql, table.name);
  sql << " SET digest = NULL WHERE digest IS NOT NULL";
  return connection->Execute(sql.c_str());
}

int DoubtRanges(Connection* connection, const char* name, bool* busy) {
  MergeStats stats;
  const int rc = InMergeTransaction(connection, &stats, false, [&] {
    Table* table = connection->catalog.FindTable(name);
    if (table == nullptr || !table->active) return SQLITE_OK;
    const int checked = connection->catalog.Check(connection, table);
    return checked == SQLITE_OK ? TouchAllRanges(connection, *table) : checked;
  });
  *busy = stats.busy;
  return rc;
}

}  // namespace mergelite
