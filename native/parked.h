// What waits in _mergelite_parked, by reason. docs/schema.md says what each of them means.
#pragma once
#include "merge.h"

namespace mergelite {

// A bit each in a set of reasons.
enum class Reason : uint8_t {
  kRow,         // an update of a row that is dead or not known
  kTable,       // a patch of a table that is not replicated here, or has another key
  kColumn,      // values of columns the table lacks
  kKey,         // a patch whose key the table cannot hold
  kUnique,      // of a withheld row: an older row has its value
  kNotNull,     // of a withheld row: a column has neither a value nor a default
  kConstraint,  // of a withheld row: SQLite refuses it otherwise
  kCheck,       // not a patch but a mark: the row is shown although a CHECK says no
};
constexpr size_t kReasons = 8;
extern const char* const kReasonNames[kReasons];
// The reason of a name; kRow for one that there is not.
Reason ReasonOf(const char* name);
inline const char* NameOf(Reason reason) { return kReasonNames[static_cast<size_t>(reason)]; }
constexpr uint8_t BitOf(Reason reason) {
  return static_cast<uint8_t>(1u << static_cast<unsigned>(reason));
}

// For SQL: the reasons of withheld rows; and of all rows that are looked at again when they change.
#define MERGELITE_WITHHELD "('unique', 'not-null', 'constraint')"
#define MERGELITE_HELD "('unique', 'not-null', 'constraint', 'check')"
constexpr uint8_t kWithheldBits =
    BitOf(Reason::kUnique) | BitOf(Reason::kNotNull) | BitOf(Reason::kConstraint);

// Whether anything is parked, and whether any row is withheld or violates a CHECK: a transaction
// that merges or folds looks once, and from then on memory knows.
int LookForParked(Connection* connection);
bool AnyParked(const Connection* connection);
bool AnyHeld(const Connection* connection);

// What a patch is parked under.
struct Parking {
  Span identity;
  Reason reason;
  const char* detail = "";
};
int Park(Connection* connection, const Incoming& incoming, const Shape& shape,
         const Parking& parking, Span patch);
// Merges again what waits for this row to come alive, as far as it is newer than the insert.
int MergeParked(Connection* connection, Table* table, Span identity, const Stamp& since);
// A withheld row is in the table again: its patches wait no more.
int UnparkWithheld(Connection* connection, const Table& table, Span identity);
// It is withheld for another reason by now.
int ChangeReason(Connection* connection, const Table& table, const Parking& parking);
// What an insert or delete at this stamp makes void. `inclusive`: also what the same changeset
// parked before it.
int DropParkedBefore(Connection* connection, const Table& table, Span identity, const Stamp& stamp,
                     bool inclusive);
struct ColumnSince {
  size_t column;
  Stamp stamp;
};
// Whether a write to this column of the row, at this stamp or a newer one, waits for the column.
int IsParkedSince(Connection* connection, const Table& table, Span identity,
                  const ColumnSince& since, bool* is_parked);
// Merges again what waited for another schema. Row clocks must know of all that has been merged: to
// others what is parked may look newer than what the row holds.
int RetryParked(Connection* connection, const Deadline& deadline, bool* done);
// The same for those who have not absorbed the log yet, with all row clocks folded before and
// after.
int FoldAndRetryParked(Connection* connection, const Deadline& deadline, bool* done);

}  // namespace mergelite
