// Numbers and marks of the whole file, in _mergelite_meta.
#include "connection.h"
#include "log.h"

namespace mergelite {

int Log::MetaInteger(Connection* connection, const char* key, int64_t* value) {
  int rc = connection->Prepare(&meta_, "SELECT value FROM main._mergelite_meta WHERE key = ?1");
  if (rc != SQLITE_OK) return rc;
  meta_.String(1, key);
  rc = meta_.Step();
  *value = 0;
  if (rc != SQLITE_ROW) return connection->Check(rc);
  *value = meta_.ColumnInteger(0);
  return connection->Check(meta_.Reset());
}

int Log::RaiseSwept(Connection* connection, uint64_t swept) {
  if (swept <= swept_) return SQLITE_OK;
  Value value;
  value.type = Type::kInteger;
  value.integer = static_cast<int64_t>(swept);
  const int rc = SetMeta(connection, "swept", value);
  if (rc == SQLITE_OK) swept_ = swept;
  return rc;
}

int Log::SetMeta(Connection* connection, const char* key, const Value& value) {
  Statement statement;
  const int rc = connection->Check(statement.Prepare(
      connection->api, connection->db,
      "INSERT OR REPLACE INTO main._mergelite_meta (key, value) VALUES (?1, ?2)"));
  if (rc != SQLITE_OK) return rc;
  statement.String(1, key);
  statement.Any(2, value);
  return connection->Check(statement.Run());
}

}  // namespace mergelite
