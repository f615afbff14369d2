// Merging: remote changesets into the tables, by the rules of ARCHITECTURE.md (M1 to M9).
#pragma once
#include <memory>
#include <vector>

#include "clocks.h"
#include "sqlite_api.h"

namespace mergelite {

// How a peer's shape meets this file's table.
struct Target {
  const Shape* shape = nullptr;
  Table* table = nullptr;  // null: not replicated here, or its key differs
  int64_t schema_version = -1;
  std::vector<int> columns;  // of the shape's columns, -1 for those the table lacks
  bool knows_all_columns = true;

  // One statement a set of columns to write; the whole row is the first.
  struct Write {
    bool insert = true;
    Bytes columns;  // bitmap over the table's columns
    Statement statement;
  };
  std::vector<std::unique_ptr<Write>> writes;
  size_t next_victim = 0;
};

struct MergeStats {
  uint64_t consumed = 0, changesets = 0, patches = 0, lost = 0, parked = 0, duplicates = 0;
  bool busy = false, more = false;
  struct Gap {
    uint64_t peer, sequence;
  };
  std::vector<Gap> gaps;
  std::vector<uint64_t> unknown_shapes;
  struct Refused {
    uint64_t peer, sequence;
    const char* reason;
  };
  std::vector<Refused> refused;
  int64_t resume_at_ms = 0;
};

class MergeScope;

struct MergeState {
  Clocks clocks;
  std::vector<std::unique_ptr<Target>> targets;
  // Whether any patch is parked; -1 not known yet.
  int any_parked = -1;
  uint64_t parked_loads = 0;     // another connection may have parked something since this many
  int64_t retried_version = -1;  // the schema under which everything parked was tried again
  int64_t retried_id = 0;
  int64_t retried_last = 0;  // what is parked anew while retrying waits for the next schema
  int64_t drift_max_ms = 60000;
  std::vector<Value> key_scratch;
  Bytes identity;
  Bytes columns;
  RowClock clock;
  MergeStats* stats = nullptr;
  MergeScope* scope = nullptr;  // of the call that is running

  Statement park, parked_by_key, unpark, drop_older, parked_known, begin, commit,
      temp_triggers, withheld, unpark_unique;
  void Finalize();
};

// The changeset being merged.
struct Incoming {
  Origin* origin;
  uint64_t sequence;
  Stamp stamp;
};

// Runs `work` in a write transaction in which memory and file agree. Nothing is done, and the stats
// say so, while another connection writes or the user is inside a transaction of this one.
int RunMergeTransaction(Connection* connection, MergeStats* stats, bool many, int (*work)(void*),
                        void* context);
template <class Work>
int InMergeTransaction(Connection* connection, MergeStats* stats, bool many, Work work) {
  return RunMergeTransaction(
      connection, stats, many, [](void* context) { return (*static_cast<Work*>(context))(); },
      &work);
}

int MergeRecords(Connection* connection, Span records, size_t offset, double budget_ms,
                 MergeStats* stats);
int Maintain(Connection* connection, double budget_ms, MergeStats* stats);

// Pieces shared by the files of merging.
int ResolveTarget(Connection* connection, const Shape* shape, Target** target);
int AbsorbChangeset(Connection* connection, const Origin& origin, const Record& record);
int MergePatch(Connection* connection, const Incoming& incoming, Target* target,
               const Patch& patch);
// A rowid is an integer and nothing else: SQLite would refuse the row and the row clock alike, and
// shapes do not tell types.
bool KeyFits(const Table& table, const Patch& patch);
void IdentityOf(const Shape& shape, const Value* key, Bytes* out);

// One patch outside its changeset, as it is parked.
class SinglePatch {
 public:
  SinglePatch(Span bytes, const Shape* shape);
  bool Read(Patch* patch) { return reader_->Next(patch); }

 private:
  Payload payload_;
  std::vector<const Shape*> shapes_;
  std::unique_ptr<PatchReader> reader_;
};

int Park(Connection* connection, const Incoming& incoming, const Shape& shape, Span identity,
         const char* reason, const char* detail, Span patch);
// Merges again what waits for this row to come alive, as far as it is newer than the insert.
int MergeParked(Connection* connection, Table* table, Span identity, const Stamp& since);
// A withheld row is in the table again: its patches wait no more.
int UnparkWithheld(Connection* connection, const Table& table, Span identity);
// Of a withheld row that was deleted, what is newer than the delete waits for the row.
int ReleaseWithheld(Connection* connection, const Table& table, Span identity);
// What an insert or delete at this stamp makes void. `inclusive`: also what the same changeset
// parked before it.
int DropParkedBefore(Connection* connection, const Table& table, Span identity, const Stamp& stamp,
                     bool inclusive);
// Merges again what waited for tables and columns that are here by now.
int RetryParked(Connection* connection, const Deadline& deadline, bool* done);
bool AnyParked(Connection* connection);

}  // namespace mergelite
