#include "identity.h"

#include "connection.h"
#include "merge.h"
#include "replication.h"

namespace mergelite {
namespace {

int ReadMark(Connection* connection, const char* key, Text* mark) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db, "SELECT value FROM main._mergelite_meta WHERE key = ?1"));
  if (rc != SQLITE_OK) return rc;
  query.String(1, key);
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  *mark << query.ColumnText(0);
  return connection->Check(query.Reset());
}

int WriteMark(Connection* connection, const char* key, const Text& mark) {
  Value value;
  value.type = Type::kText;
  value.content = mark.span();
  return connection->log.SetMeta(connection, key, value);
}

int WriteOpeners(Connection* connection, int64_t openers) {
  Value value;
  value.type = Type::kInteger;
  value.integer = openers;
  return connection->log.SetMeta(connection, "openers", value);
}

bool Differ(const Text& stored, const Text& now) {
  return !stored.empty() && !now.empty() && !(stored.span() == now.span());
}

// Nobody needs to wait for this id again.
int Retire(Connection* connection, uint64_t peer) {
  Statement statement;
  const int rc = connection->Check(statement.Prepare(
      connection->api, connection->db,
      "INSERT INTO main._mergelite_peers (peer, vector, heard, forgotten) VALUES (?1, x'00', ?2, "
      "1) ON CONFLICT (peer) DO UPDATE SET forgotten = 1"));
  if (rc != SQLITE_OK) return rc;
  statement.Integer(1, static_cast<int64_t>(peer));
  statement.Integer(2, connection->NowMs());
  return connection->Check(statement.Run());
}

int CheckMarks(Connection* connection, const Text& file_mark, const Text& boot_mark,
               bool* renewed) {
  Text stored_file, stored_boot;
  int64_t openers = 0;
  int rc = ReadMark(connection, "file_mark", &stored_file);
  if (rc == SQLITE_OK) rc = ReadMark(connection, "boot_mark", &stored_boot);
  if (rc == SQLITE_OK) rc = connection->log.MetaInteger(connection, "openers", &openers);
  if (rc != SQLITE_OK) return rc;
  // Connections that were open when the machine went down may have lost their last commits.
  const bool rebooted = Differ(stored_boot, boot_mark);
  *renewed = Differ(stored_file, file_mark) || (rebooted && openers > 0);
  if (rebooted || *renewed) openers = 0;
  if (*renewed) {
    rc = connection->log.Refresh(connection);
    const uint64_t former = connection->log.peer_id();
    if (rc == SQLITE_OK) rc = connection->log.RenewIdentity(connection);
    // Of a copy the original may live on; a file that stayed where it is has left its old id.
    if (rc == SQLITE_OK && !Differ(stored_file, file_mark)) rc = Retire(connection, former);
    if (rc != SQLITE_OK) return rc;
  }
  if (!file_mark.empty()) rc = WriteMark(connection, "file_mark", file_mark);
  if (rc == SQLITE_OK && !boot_mark.empty()) rc = WriteMark(connection, "boot_mark", boot_mark);
  return rc == SQLITE_OK ? WriteOpeners(connection, openers + 1) : rc;
}

// The part of a timestamp that goes into a fingerprint of 53 bits.
constexpr uint64_t kPrintTimestampMask = (uint64_t{1} << 21) - 1;

// A commit that is on the disk, not only on its way there, whatever the connection asks for.
class Durably {
 public:
  explicit Durably(Connection* connection) : connection_(connection) {}
  ~Durably() {
    if (level_ < kFull) (void)Set(level_);
  }
  int Begin() {
    Statement query;
    int rc = connection_->Check(
        query.Prepare(connection_->api, connection_->db, "PRAGMA main.synchronous"));
    if (rc != SQLITE_OK) return rc;
    rc = query.Step();
    if (rc != SQLITE_ROW) return connection_->Check(rc);
    level_ = query.ColumnInteger(0);
    rc = connection_->Check(query.Reset());
    return rc != SQLITE_OK || level_ >= kFull ? rc : Set(kFull);
  }

 private:
  static constexpr int64_t kFull = 2;
  int Set(int64_t level) {
    Text sql("PRAGMA main.synchronous = ");
    sql << static_cast<uint64_t>(level);
    return connection_->Execute(sql.c_str());
  }
  Connection* connection_;
  int64_t level_ = kFull;
};

}  // namespace

int OpenFile(Connection* connection, const Text& file_mark, const Text& boot_mark, bool* renewed) {
  if (connection->InTransaction()) {
    return connection->Fail("IN_TRANSACTION", "attach needs to run outside a transaction",
                            "Commit or roll back first.");
  }
  {
    // That the file is in use has to outlast a power cut before any peer hears of a write, or the
    // same numbers would be given out again.
    Durably durably(connection);
    int rc = durably.Begin();
    Transaction transaction(connection);
    if (rc == SQLITE_OK) rc = transaction.Begin();
    if (rc == SQLITE_OK) rc = connection->log.CreateTables(connection);
    if (rc == SQLITE_OK) rc = CheckMarks(connection, file_mark, boot_mark, renewed);
    connection->log.Invalidate();
    if (rc == SQLITE_OK) rc = transaction.Commit();
    if (rc != SQLITE_OK) return rc;
  }
  connection->catalog.Invalidate();
  int rc = connection->catalog.Refresh(connection);
  if (rc == SQLITE_OK) rc = connection->log.Refresh(connection);
  if (rc == SQLITE_OK) rc = RenewStaleTables(connection);
  if (connection->merge == nullptr) connection->merge = std::make_unique<MergeState>();
  return rc;
}

int CloseFile(Connection* connection) {
  if (connection->InTransaction() || !connection->catalog.present()) return SQLITE_OK;
  Transaction transaction(connection);
  int64_t openers = 0;
  int rc = transaction.Begin();
  if (rc == SQLITE_OK) rc = connection->log.MetaInteger(connection, "openers", &openers);
  if (rc == SQLITE_OK && openers > 0) rc = WriteOpeners(connection, openers - 1);
  return rc == SQLITE_OK ? transaction.Commit() : rc;
}

int FingerprintAt(Connection* connection, uint64_t peer, uint64_t sequence, uint64_t* print) {
  *print = 0;
  const Origin* origin = connection->log.FindOrigin(peer);
  if (origin == nullptr || sequence == 0 || sequence > origin->held) return SQLITE_OK;
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT timestamp, substr(payload, -4) FROM main._mergelite_log WHERE id = ?1"));
  if (rc != SQLITE_OK) return rc;
  query.Integer(1, LogBase(origin->ordinal) + static_cast<int64_t>(sequence));
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  // Timestamps alone may be equal: two files that go on from one clock reading count alike.
  const Span checksum = query.ColumnBytes(1);
  uint64_t low = 0;
  for (size_t i = 0; i < checksum.size; i++) low |= uint64_t{checksum.data[i]} << (8 * i);
  const auto timestamp = static_cast<uint64_t>(query.ColumnInteger(0));
  *print = (timestamp & kPrintTimestampMask) << 32 | low;
  if (*print == 0) *print = 1;
  return connection->Check(query.Reset());
}

}  // namespace mergelite
