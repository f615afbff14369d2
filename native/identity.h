// Whose file this is: a copied, restored or power-cut file must not go on under its old peer id.
#pragma once
#include "text.h"

namespace mergelite {

struct Connection;

// Creates the system tables when they are missing; takes a new peer id when the marks say that this
// is not the file, or not all of the file, that the id was given to. An empty mark is unknown.
int OpenFile(Connection* connection, const Text& file_mark, const Text& boot_mark, bool* renewed);
// Notes that everything this connection wrote is on disk.
int CloseFile(Connection* connection);
// Tells a changeset held from others under its number, by its timestamp and checksum; 0 when the
// log does not have it (any more).
int FingerprintAt(Connection* connection, uint64_t peer, uint64_t sequence, uint64_t* print);

}  // namespace mergelite
