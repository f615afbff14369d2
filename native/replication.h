// Starting and ending the replication of a table.
#pragma once
#include "catalog.h"

namespace mergelite {

// Inside a transaction, from CREATE VIRTUAL TABLE: system tables, shape, row clocks, triggers; rows
// that are there become the first changesets.
int StartReplication(Connection* connection, const char* table);
// Makes the companion, unless the table is replicated already.
int Replicate(Connection* connection, const Text& table);
// Drops the triggers; log and row clocks stay for the peers.
int StopReplication(Connection* connection, const char* table);
// Makes the triggers of tables whose columns have changed anew. Outside a transaction.
int RenewStaleTables(Connection* connection);
// Removes everything of ours from the file. Outside a transaction.
int Detach(Connection* connection);

}  // namespace mergelite
