// When memory has to be read from the file again: SQLite counts the changes of a file.
#include "connection.h"

namespace mergelite {

// Changes with every commit, also with one of this connection's.
uint32_t Log::DataVersion(Connection* connection) {
  uint32_t version = 0;
  connection->api->file_control(connection->db, "main", SQLITE_FCNTL_DATA_VERSION, &version);
  return version;
}

// Changes with commits of other connections only; telling costs a statement.
int Log::OthersVersion(Connection* connection, int64_t* version) {
  int rc = connection->Prepare(&others_, "PRAGMA main.data_version");
  if (rc == SQLITE_OK) rc = others_.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc == SQLITE_OK ? SQLITE_INTERNAL : rc);
  *version = others_.ColumnInteger(0);
  return connection->Check(others_.Reset());
}

int Log::Refresh(Connection* connection) {
  // Any read makes SQLite look whether the file has changed.
  int64_t tag = 0, others = 0;
  if (valid_ && connection->InTransaction()) {
    if (DataVersion(connection) == data_version_) return SQLITE_OK;
  }
  int rc = MetaInteger(connection, "tag", &tag);
  if (rc != SQLITE_OK) return rc;
  const uint32_t version = DataVersion(connection);
  if (valid_ && version == data_version_) return SQLITE_OK;
  rc = OthersVersion(connection, &others);
  if (rc != SQLITE_OK) return rc;
  // A commit of this connection that captured nothing, as of a table that is not replicated, takes
  // nothing from what is known of rows.
  if (!valid_ || tag != tag_ || others != others_version_) loads_++;
  tag_ = tag;
  others_version_ = others;
  valid_ = false;
  rc = LoadOrigins(connection);
  if (rc != SQLITE_OK) return rc;
  valid_ = true;
  data_version_ = version;
  return SQLITE_OK;
}

void Log::Committed(Connection* connection) { data_version_ = DataVersion(connection); }

}  // namespace mergelite
