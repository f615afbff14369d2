// UNIQUE among rows that peers wrote independently: of rows that cannot be in the table together
// the one born first (smaller life stamp) is, on every replica. The others are withheld: out of the
// table, their patches parked with reason 'unique', back as soon as the value is free.
#pragma once
#include "merge.h"

namespace mergelite {

// Whether this row's patches are parked because the row is withheld.
int IsWithheld(Connection* connection, const Table& table, Span identity, bool* withheld);
// Takes a row out of the table and parks what it holds, each column with its own stamp. Does
// nothing when the row is not in the table.
int WithholdRow(Connection* connection, Table* table, Span identity, const Value* key,
                Span encoded_key);
// After a batch: shows what can be shown and withholds what must be, so that a row is shown exactly
// when no older shown row conflicts with it.
int SettleWithheld(Connection* connection);

}  // namespace mergelite
