#include "peers.h"

#include "connection.h"

namespace mergelite {
namespace {

void EncodeVector(const std::vector<KnownPeer::Entry>& vector, Bytes* out) {
  out->Varint(vector.size());
  for (const KnownPeer::Entry& entry : vector) {
    out->Varint(entry.origin);
    out->Varint(entry.sequence);
  }
}

bool DecodeVector(Span bytes, std::vector<KnownPeer::Entry>* vector) {
  Reader in(bytes);
  const uint64_t count = in.Varint();
  if (count > in.left() / 2) return false;
  for (uint64_t i = 0; i < count; i++) {
    const uint64_t origin = in.Varint();
    vector->push_back({origin, in.Varint()});
  }
  return in.ok() && in.AtEnd();
}

// In a transaction of its own; another one under way on this or another connection is no error.
template <class Work>
int InOwnTransaction(Connection* connection, bool* busy, Work work) {
  *busy = connection->InTransaction();
  if (*busy) return SQLITE_OK;
  Transaction transaction(connection);
  int rc = transaction.Begin();
  if ((rc & 0xff) == SQLITE_BUSY) {
    *busy = true;
    connection->error.Clear();
    return SQLITE_OK;
  }
  if (rc == SQLITE_OK) rc = work();
  return rc == SQLITE_OK ? transaction.Commit() : rc;
}

}  // namespace

int NotePeer(Connection* connection, const KnownPeer& peer, bool* busy) {
  return InOwnTransaction(connection, busy, [&] {
    Statement statement;
    const int rc = connection->Check(statement.Prepare(
        connection->api, connection->db,
        "INSERT INTO main._mergelite_peers (peer, vector, heard) VALUES (?1, ?2, ?3) ON CONFLICT "
        "(peer) DO UPDATE SET vector = excluded.vector, heard = excluded.heard"));
    if (rc != SQLITE_OK) return rc;
    Bytes vector;
    EncodeVector(peer.vector, &vector);
    statement.Integer(1, static_cast<int64_t>(peer.peer));
    statement.Bytes(2, vector.span());
    statement.Integer(3, peer.heard_ms);
    return connection->Check(statement.Run());
  });
}

int ForgetPeer(Connection* connection, uint64_t peer, bool* busy) {
  return InOwnTransaction(connection, busy, [&] {
    Statement statement;
    int rc = connection->Check(statement.Prepare(
        connection->api, connection->db,
        "UPDATE main._mergelite_peers SET forgotten = 1 WHERE peer = ?1 RETURNING peer"));
    if (rc != SQLITE_OK) return rc;
    statement.Integer(1, static_cast<int64_t>(peer));
    rc = statement.Step();
    if (rc == SQLITE_ROW) return connection->Check(statement.Reset());
    if (rc != SQLITE_OK) return connection->Check(rc);
    return connection->Fail("PEER_UNKNOWN", "this file has not linked with that peer",
                            "`mergelite status` lists the peers it knows.");
  });
}

int ReadPeers(Connection* connection, std::vector<KnownPeer>* peers) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      "SELECT peer, vector, heard, forgotten FROM main._mergelite_peers ORDER BY peer"));
  if (rc != SQLITE_OK) return rc;
  while ((rc = query.Step()) == SQLITE_ROW) {
    KnownPeer peer;
    peer.peer = static_cast<uint64_t>(query.ColumnInteger(0));
    if (!DecodeVector(query.ColumnBytes(1), &peer.vector)) {
      return connection->Fail("FILE_DAMAGED", "what a peer holds does not decode",
                              "Run `PRAGMA integrity_check`; restore the file from a backup.");
    }
    peer.heard_ms = query.ColumnInteger(2);
    peer.forgotten = query.ColumnInteger(3) != 0;
    peers->push_back(static_cast<KnownPeer&&>(peer));
  }
  return connection->Check(rc);
}

}  // namespace mergelite
