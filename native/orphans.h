// Rows whose foreign keys point nowhere. Merging does not enforce foreign keys, so these are looked
// for afterwards, a slice at a time.
#pragma once
#include "conflicts.h"

namespace mergelite {

struct OrphanPage {
  uint64_t rows = 0;     // looked at
  uint64_t orphans = 0;  // of these
  Bytes last_key;        // encoded
  bool done = false;
};
// Walks a table in the order of its key, from `after_key` on, for about `budget_ms`. `visit` gets
// the orphans, whose values are valid during the call. A table without foreign keys is done at
// once.
int FindOrphans(Connection* connection, const char* table, Span after_key, double budget_ms,
                OrphanPage* page,
                void (*visit)(void* context, const Conflict& conflict, Span encoded_key),
                void* context);

}  // namespace mergelite
