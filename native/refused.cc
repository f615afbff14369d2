#include "refused.h"

#include "connection.h"

namespace mergelite {

int Refusals::Add(Connection* connection, const Record& record, const char* reason) {
  const int rc = connection->Prepare(
      &add_,
      "INSERT INTO main._mergelite_refused (peer, sequence, timestamp, reason, payload) VALUES "
      "(?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING");
  if (rc != SQLITE_OK) return rc;
  add_.Integer(1, static_cast<int64_t>(record.origin));
  add_.Integer(2, static_cast<int64_t>(record.sequence));
  add_.Integer(3, static_cast<int64_t>(record.timestamp));
  add_.String(4, reason);
  add_.Bytes(5, record.payload);
  some_ = true;
  return connection->Check(add_.Run());
}

int Refusals::Load(Connection* connection) {
  if (loads_ == connection->log.loads()) return SQLITE_OK;
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db, "SELECT EXISTS (SELECT 1 FROM main._mergelite_refused)"));
  if (rc == SQLITE_OK) rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  some_ = query.ColumnInteger(0) != 0;
  loads_ = connection->log.loads();
  return SQLITE_OK;
}

int Refusals::Any(Connection* connection, uint64_t peer, uint64_t first, uint64_t last, bool* any) {
  *any = false;
  int rc = Load(connection);
  if (rc != SQLITE_OK || !some_) return rc;
  rc = connection->Prepare(&any_,
                           "SELECT 1 FROM main._mergelite_refused WHERE peer = ?1 AND sequence "
                           "BETWEEN ?2 AND ?3 LIMIT 1");
  if (rc != SQLITE_OK) return rc;
  any_.Integer(1, static_cast<int64_t>(peer));
  any_.Integer(2, static_cast<int64_t>(first));
  any_.Integer(3, static_cast<int64_t>(last));
  rc = any_.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  *any = true;
  return connection->Check(any_.Reset());
}

void Refusals::Finalize() {
  add_.Finalize();
  any_.Finalize();
}

}  // namespace mergelite
