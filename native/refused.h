// Changesets that make no sense. Their bytes stay in the log and are passed on as they came, so
// that every replica comes to the same verdict; a copy is kept for people, and nothing is merged.
#pragma once
#include "codec.h"
#include "sqlite_api.h"

namespace mergelite {

struct Connection;
struct Origin;

class Refusals {
 public:
  // Keeps a changeset for inspection. A sequence that is refused already stays as it is.
  int Add(Connection* connection, const Record& record, const char* reason);
  // Whether any of an origin's changesets from `first` to `last` is refused.
  int Any(Connection* connection, uint64_t peer, uint64_t first, uint64_t last, bool* any);
  void Finalize();

 private:
  int Load(Connection* connection);

  // Whether the file has any, as of so many loads of the log: mostly none, and then nothing is
  // asked.
  bool some_ = true;
  uint64_t loads_ = UINT64_MAX;
  Statement add_, any_;
};

}  // namespace mergelite
