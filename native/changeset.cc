#include "changeset.h"

#include "connection.h"

namespace mergelite {

int ResolveShapes(Connection* connection, Changeset* changeset, uint64_t* unknown) {
  *unknown = 0;
  changeset->shapes.clear();
  for (uint64_t hash : changeset->payload.shape_hashes) {
    const Shape* shape;
    const int rc = connection->catalog.FindShape(connection, hash, &shape);
    if (rc != SQLITE_OK) return rc;
    if (shape == nullptr) {
      *unknown = hash;
      return SQLITE_OK;
    }
    changeset->shapes.push_back(shape);
  }
  return SQLITE_OK;
}

int ResolveTargets(Connection* connection, Changeset* changeset) {
  changeset->targets.clear();
  for (const Shape* shape : changeset->shapes) {
    Target* target;
    const int rc = ResolveTarget(connection, shape, &target);
    if (rc != SQLITE_OK) return rc;
    changeset->targets.push_back(target);
  }
  return SQLITE_OK;
}

int ReadMerged(Connection* connection, const Record& record, Changeset* changeset) {
  if (DecodePayload(record.payload, &changeset->payload) != DecodeError::kNone) {
    return connection->Fail("FILE_DAMAGED", "a changeset in the log does not decode",
                            "Run `PRAGMA integrity_check`; restore the file from a backup.");
  }
  uint64_t unknown;
  const int rc = ResolveShapes(connection, changeset, &unknown);
  return rc == SQLITE_OK && unknown == 0 ? ResolveTargets(connection, changeset) : rc;
}

}  // namespace mergelite
