// Row clocks of a connection: in memory for changesets not folded yet, in the clock tables for the
// rest, and how the first become the second.
#pragma once
#include "clock_cache.h"
#include "codec.h"
#include "fold_order.h"
#include "log.h"
#include "recent_rows.h"

namespace mergelite {

struct Connection;
struct Table;
struct Target;

// Wall-clock budget of one call from JavaScript. Under a fixed clock every look at it counts as a
// millisecond, so that a simulation cuts the same slices in every run.
class Deadline {
 public:
  Deadline(const Connection* connection, double budget_ms);
  bool Passed() const;

 private:
  int64_t Now() const;
  const Connection* connection_;
  mutable int64_t looks_ = 0;
  int64_t end_ms_;
};

class Clocks {
 public:
  // A generation of the cache takes this much before it has to be folded.
  static constexpr size_t kCacheBytesMax = size_t{16} << 20;
  // Within one changeset, and so in all.
  static constexpr size_t kChangesetBytesMax = size_t{64} << 20;

  // What is known of a row: clock table, frozen and active generation joined.
  int LookUp(Connection* connection, Table* table, const HashedRow& row, const Value* key,
             RowClock* clock);
  int LookUp(Connection* connection, Table* table, Span identity, const Value* key,
             RowClock* clock) {
    return LookUp(connection, table, Hashed(*table, identity), key, clock);
  }
  static HashedRow Hashed(const Table& table, Span identity);
  // Look-ups leave statements under way: to be ended before the transaction is.
  void EndLookUps(Connection* connection);
  // Whether the row's clock has a stamp that is not below this one; without looking, so that it may
  // be told of rows of which that is not true. Inside a transaction, with all changesets absorbed.
  bool MayReach(Connection* connection, const HashedRow& row, uint64_t timestamp);
  // Whether all that the patch sets has a newer stamp, as far as memory tells: then it loses
  // whatever else the clock says. Tells of no insert.
  bool KnowsNewer(Connection* connection, const Target& target, const Patch& patch,
                  const HashedRow& row, const Stamp& stamp);
  // Joins one patch into the active generation. Never fails: it is memory only.
  void Absorb(Connection* connection, const Target& target, const Patch& patch,
              const HashedRow& row, const Stamp& stamp);
  // Clock tables were written past Absorb(): no row is known any longer to be without a stamp that
  // the file has seen, nor to have one that it had.
  void WrittenPast(Connection* connection);
  // Reads changesets from the log that are merged but not in memory yet, as those this connection's
  // own users wrote.
  int AbsorbTail(Connection* connection, const Deadline& deadline, bool* done);

  bool WantsFold() const { return active_.bytes() >= kCacheBytesMax || !frozen_.empty(); }
  // Nothing more is absorbed until some has been folded.
  bool Full() const { return active_.bytes() >= kCacheBytesMax / 2 * 3; }
  bool empty() const { return active_.empty() && frozen_.empty(); }
  size_t count() const { return active_.count() + frozen_.count(); }
  size_t bytes() const { return active_.bytes() + frozen_.bytes() + folded_.bytes(); }
  // Row clocks that were looked for in their tables.
  uint64_t reads() const { return reads_; }
  // Folds one row at once: for a patch that no log brings back.
  int FoldRow(Connection* connection, Table* table, Span identity, Span key);
  // Between two patches of a changeset however large: folds what is too much for memory. Folded in
  // the middle or after it, what is joined is the same.
  int MakeRoom(Connection* connection) {
    return active_.bytes() < kChangesetBytesMax ? SQLITE_OK : FoldLarge(connection);
  }
  // Folds for a while, within the caller's transaction. `all`: also what would still fit in memory.
  int Fold(Connection* connection, const Deadline& deadline, bool all, bool* done);
  // After a rollback memory may know more than the file, or less when a fold was undone: forget,
  // and read the log again from the marks that the next load of the origins finds.
  void Forget(Connection* connection);
  // A fold within the user's transaction may still be undone, and SQLite tells nobody: the next
  // look at clocks asks the file again.
  void Doubt() { doubtful_ = true; }
  int SettleDoubt(Connection* connection);
  // Valid until the next call.
  Span JoinEncoded(const PeerIds& peers, Span a, Span b);

 private:
  struct FrozenMark {
    Origin* origin;
    uint64_t sequence;
  };
  int FoldLarge(Connection* connection);
  void Freeze(Connection* connection);
  int FoldPiece(Connection* connection);
  int ReadTable(Connection* connection, Table* table, const Value* key, RowClock* clock);

  void LookAtLoads(Connection* connection);

  ClockCache active_;
  ClockCache frozen_;  // being folded
  // The one folded last, until the next is frozen: what loses against recent writes needs no look.
  ClockCache folded_;
  FoldOrder fold_order_;
  RecentRows recent_;
  uint64_t recent_loads_ = UINT64_MAX;  // of the log, see Log::loads()
  uint64_t reads_ = 0;
  bool doubtful_ = false;
  bool reading_ = false;  // some table's clock_read is under way
  std::vector<FrozenMark> frozen_marks_;
  Bytes scratch_;
  RowClock clock_, other_;
};

// What two encoded row clocks say together, for the statement that folds.
Span JoinEncodedClocks(Connection* connection, Span a, Span b);
// Within the caller's transaction, however long it takes.
int FoldEverything(Connection* connection);

}  // namespace mergelite
