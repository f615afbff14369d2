// Starting and ending the replication of a table.
#pragma once
#include <vector>

#include "catalog.h"
#include "schema_rows.h"

namespace mergelite {

// Tables whose replication starts in one transaction: the schema as it was before, and those that
// are adopted, but whose rows are not in the log yet.
struct Starting {
  SchemaRows schema;
  struct Adopted {
    Text name;
    bool returning;
  };
  std::vector<Adopted> adopted;
};

// Inside a transaction, from CREATE VIRTUAL TABLE: system tables, shape, row clocks, triggers; rows
// that are there become the first changesets.
int StartReplication(Connection* connection, const char* table);
// Rows that are there become changesets.
int LogAdopted(Connection* connection, const std::vector<Starting::Adopted>& adopted);
// Makes companions of tables that are not replicated already: all of them or, outside a
// transaction of the user's, none.
int Replicate(Connection* connection, const std::vector<Text>& tables);
// Drops the triggers; log and row clocks stay for the peers.
int StopReplication(Connection* connection, const char* table);
// Makes the triggers of tables whose columns have changed anew. Outside a transaction.
int RenewStaleTables(Connection* connection);
// Removes everything of ours from the file. Outside a transaction.
int Detach(Connection* connection);

}  // namespace mergelite
