// CHECK on merged rows: columns that are each right can merge into a row that is not. Such a row is
// shown, on every replica, and a mark in _mergelite_parked says so until it is right again.
#pragma once
#include "parked.h"

namespace mergelite {

// Doubts of one transaction that are kept until its end; with more they are settled on the way.
constexpr size_t kDoubtsMax = 8192;

struct RowWrite {
  Span identity;
  Statement* statement;
};
// Runs a statement that a CHECK has refused without CHECKs. `code` is what else refused it.
int RunWithoutChecks(Connection* connection, const Table& table, const RowWrite& write, int* code,
                     Text* message);
void AddDoubt(Connection* connection, const Incoming& incoming, Table* table, Span identity,
              Span encoded_key);
// Takes a row's mark away, if it has one.
int Unmark(Connection* connection, const Table& table, Span identity);
// Marks the doubted rows that violate a CHECK, and takes the mark from those that do not.
int SettleDoubts(Connection* connection);

}  // namespace mergelite
