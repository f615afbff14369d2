// Merging: remote changesets into the tables, by the rules of ARCHITECTURE.md (M1 to M9).
#pragma once
#include <memory>
#include <vector>

#include "clocks.h"
#include "merge_scope.h"
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
  // Of state where no row is known: many rows and their clocks at once, see FreshRows.
  Statement fresh_rows, fresh_clocks;
};

struct MergeStats {
  uint64_t consumed = 0, changesets = 0, patches = 0, lost = 0, parked = 0, duplicates = 0;
  bool busy = false, more = false;
  // A trigger of the user's has ended the transaction: `busy`, and the next call leaves it out.
  bool undone = false;
  struct Gap {
    uint64_t peer, sequence;
  };
  std::vector<Gap> gaps;
  // Changesets below what this file has swept, which are told as gaps: see MergeRecord.
  uint64_t below = 0;
  std::vector<uint64_t> unknown_shapes;
  struct Refused {
    uint64_t peer, sequence;
    const char* reason;
  };
  std::vector<Refused> refused;
  int64_t resume_at_ms = 0;
  // What is told of _mergelite_parked one by one (see Ledger): ids that are new, and what is gone.
  std::vector<int64_t> conflicts;
  struct Resolved {
    Text table;
    Bytes identity;
    const char* reason;
  };
  std::vector<Resolved> resolved;
  uint64_t parked_by_reason[8] = {};
  // Changes to what is parked beyond the rows that are told one by one.
  uint64_t untold = 0;
  // Inserts that met a row which another origin had inserted, and the first of them.
  uint64_t key_collisions = 0;
  struct Collision {
    Text table;
    Bytes identity;
    uint64_t peer, other;
  };
  static constexpr size_t kCollisionsTold = 16;
  std::vector<Collision> collisions;
};

// A row whose CHECKs are to be looked at before the transaction ends; see violations.h.
struct Doubt {
  Table* table;
  Bytes identity, encoded_key;
  uint64_t peer, sequence, timestamp;
};

class Ledger;

struct MergeState {
  Clocks clocks;
  std::vector<std::unique_ptr<Target>> targets;
  // Whether anything is parked, and whether any row is withheld or violates a CHECK.
  bool any_parked = true, any_held = true;
  uint64_t parked_loads = UINT64_MAX;  // another connection may have changed that since so many
  int64_t retried_version = -1;        // the schema under which everything parked was tried again
  int64_t retried_id = 0;
  // The parked patch that is merged right now: of its changeset those with larger ids come after
  // it.
  int64_t again_id = INT64_MAX;
  int64_t retried_last = 0;  // what is parked anew while retrying waits for the next schema
  int64_t drift_max_ms = 60000;
  std::vector<Value> key_scratch;
  Bytes identity;
  Bytes columns;
  RowClock clock;
  MergeStats* stats = nullptr;
  MergeScope* scope = nullptr;  // of the call that is running
  std::vector<Doubt> doubts;
  Mutes mutes;
  std::unique_ptr<Ledger> ledger_;

  Statement park, parked_by_key, unpark, drop_older, parked_known, begin, commit, temp_triggers,
      held, unpark_withheld, unmark;
  MergeState();
  ~MergeState();
  Ledger& ledger() { return *ledger_; }
  void Finalize();
};

// The changeset being merged.
struct Incoming {
  const Origin* origin;
  uint64_t sequence;
  Stamp stamp;
  bool newest = false;  // above every stamp this file has seen
  // As the log brings it: all that this file has seen before was absorbed.
  bool in_order = false;
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

// The same at once, where nobody would come again.
template <class Work>
int SettleInMergeTransaction(Connection* connection, MergeStats* stats, Work work) {
  for (;;) {
    const int rc = InMergeTransaction(connection, stats, false, work);
    if (rc != SQLITE_OK || !stats->undone) return rc;
    *stats = MergeStats{};
  }
}

int MergeRecords(Connection* connection, Span records, size_t offset, double budget_ms,
                 MergeStats* stats);
int Maintain(Connection* connection, double budget_ms, MergeStats* stats);

// Pieces shared by the files of merging.
int ResolveTarget(Connection* connection, const Shape* shape, Target** target);
int AbsorbChangeset(Connection* connection, const Origin& origin, const Record& record);
int MergePatch(Connection* connection, const Incoming& incoming, Target* target,
               const Patch& patch);
// The statement that writes the columns of a bitmap: as an insert that updates what is there, or as
// an update.
int FindWrite(Connection* connection, Target* target, bool insert, const Bytes& columns,
              Target::Write** write);
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

}  // namespace mergelite
