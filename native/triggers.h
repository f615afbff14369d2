// The row triggers that hand a table's changes to capture.
#pragma once
#include "catalog.h"

namespace mergelite {

// What triggers say of their table.
struct Wiring {
  int64_t shape_id;
  int64_t tag;
  bool old_values;
};
// Inside a transaction. Replaces what triggers of ours the table has.
int CreateTriggers(Connection* connection, const TableInfo& info, const Wiring& wiring);
// How many triggers a table like this has when it is captured.
size_t CountTriggers(const TableInfo& info, bool old_values);
int DropTriggers(Connection* connection, const char* table);
// Those of tables that are not replicated.
int DropStrayTriggers(Connection* connection);

}  // namespace mergelite
