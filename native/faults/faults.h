// Fault injection, in a build of its own (scripts/faults.mjs): SQLite as the library sees it, but
// for one call that fails when a test says so. See docs/testing.md.
#pragma once
#include "../sqlite_api.h"

namespace mergelite {

// The function table with our failures before it. Adds to the connection the SQL functions
// mergelite_fault(kind, at, code, sticky), which arms, and mergelite_fault_report(), which disarms
// and answers "<calls counted> <faults> <what failed first>". Kinds:
//   call       the at-th call of an SQLite function returns `code`, without being made
//   interrupt  the at-th statement run is interrupted by SQLite itself
//   file       the at-th operation on a file that can end in `code` does
// `sticky`: all that follow fail as well, as on a full disk.
const Api* WithFaults(sqlite3* db, const Api* real);

namespace faults {

enum class Kind : uint8_t { kNone, kCall, kInterrupt, kFile };

struct Plan {
  Kind kind = Kind::kNone;
  int64_t at = 0;
  int code = SQLITE_OK;
  bool sticky = false;
  int64_t seen = 0;
  int64_t fired = 0;
  bool fresh = false;  // the last call failed by us: SQLite has no message for it
  char what[160] = "";
};
extern Plan g_plan;

// Counts one opportunity, and says whether it is the one to fail.
bool Due(Kind kind, const char* function, const char* detail);

void RegisterFaultyFiles(const Api* real);

}  // namespace faults
}  // namespace mergelite
