// What people are told of _mergelite_parked, and what they may do about it.
#pragma once
#include "parked.h"

namespace mergelite {

// Values by column name, for a door to hand out. Both point into what they were read from.
struct NamedValue {
  const Text* name;
  Value value;
};

struct Conflict {
  int64_t id = 0;
  Text table, detail;
  Reason reason = Reason::kRow;
  uint64_t peer = 0, sequence = 0, timestamp = 0;
  Operation operation = Operation::kUpdate;
  std::vector<NamedValue> key, values;
};

struct ConflictQuery {
  int64_t after = 0;  // the largest id of the page before
  int64_t id = 0;     // only this one, unless 0
  uint64_t limit = 100;
  Text table, reason;  // empty for all
};
// Parked patches, one each; a withheld row with all its values is one. `visit` gets a Conflict
// whose values are valid during the call.
int ForEachConflict(Connection* connection, const ConflictQuery& query,
                    void (*visit)(void* context, const Conflict& conflict), void* context);

// Tries again what a conflict is about, in a merge transaction.
int RetryConflict(Connection* connection, int64_t id, MergeStats* stats);
// Deletes the row of a conflict as a write of this peer, so that all replicas do; of a row that
// violates a CHECK only the mark. What waits for another schema is refused: CONFLICT_KEPT.
int DiscardConflict(Connection* connection, int64_t id, MergeStats* stats);
// Forgets the bytes of a refused changeset.
int DiscardRefused(Connection* connection, uint64_t peer, uint64_t sequence);
// An ordinary DELETE of one row, captured and enforced like any.
int DeleteRow(Connection* connection, const char* table, Span encoded_key);

}  // namespace mergelite
