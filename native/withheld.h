// Rows that this table cannot hold as peers have made them. Of rows that UNIQUE keeps apart the one
// born first (smaller life stamp) is shown, on every replica; a row without a value for a NOT NULL
// column, or that SQLite refuses otherwise, is not. What is not shown is withheld: out of the
// table, its patches parked under the reason, back as soon as it can be.
#pragma once
#include "parked.h"

namespace mergelite {

// For what a constraint keeps a row out of its table, by SQLite's extended code.
Reason WithholdingReason(int code);
// The reason for which a row is withheld or marked, as a bit; 0 for most.
int HeldFor(Connection* connection, const Table& table, Span identity, uint8_t* bit);
// Takes a row out of the table and parks what it holds, each column with its own stamp. Does
// nothing when the row is not in the table.
int WithholdRow(Connection* connection, Table* table, const Parking& parking, const Value* key,
                Span encoded_key);
// A row is written, or withheld: what it stood in the way of is tried at the end of the batch.
void AskToSettle(Table* table, Span identity);
// After a batch: shows what can be shown and withholds what must be, so that a row is shown exactly
// when the table can hold it and no older shown row conflicts with it.
int SettleWithheld(Connection* connection);
// Of one table; `table_settler.cc`.
int SettleTable(Connection* connection, Table* table);

}  // namespace mergelite
