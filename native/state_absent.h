// Rows that the sender of state neither has nor has a tombstone of, although it knows the changeset
// that made them: they were deleted, and its tombstone is gone.
#pragma once
#include "state.h"

namespace mergelite {

class AbsentRows {
 public:
  AbsentRows(Connection* connection, const StateChunk& chunk, const Deadline& deadline)
      : connection_(connection), chunk_(chunk), deadline_(deadline) {}

  // `position`: the key behind which the rows to be merged begin.
  int Open(Span position);
  // The table, if nothing is known here of any of these rows: none is in excess then.
  Table* fresh() const { return fresh_; }
  void ForgetMentioned();
  void Mention(const Shape& shape, const Value* key, bool unborn);
  // Deletes what is not mentioned behind `position`, up to `last` or to the end of the table.
  // `more`: time ran out; the position has moved to where it did.
  int Drop(Bytes* position, Span last, bool* more);

 private:
  struct Mentioned {
    size_t offset, size;
    bool unborn;
  };
  int LookForOwn(Span position, bool* any);
  // Clocks behind `lower` and up to `upper`, either of which may be empty, in the order of keys.
  int Select(Span lower, Span upper, Statement** rows);
  bool LastKey(Span* key) const;
  const Mentioned* FindMentioned(const Table& table, const Value* key);
  int DropRow(const std::vector<Value>& key, bool unborn);
  int Covered(const Stamp& stamp, bool* covered);
  int OldestUnseen(const Origin& origin, uint64_t sequence, uint64_t* timestamp);
  int LacksUnseen(const Origin& origin, uint64_t sequence, uint64_t timestamp, bool* lacks);

  struct Unseen {
    const Origin* origin;
    uint64_t oldest;  // timestamp of what the sender lacks
  };

  Connection* connection_;
  const StateChunk& chunk_;
  const Deadline& deadline_;
  std::vector<Unseen> unseen_;
  Target* target_ = nullptr;  // null: nothing is deleted
  Statement rows_[4];
  std::vector<Mentioned> mentioned_;
  bool sorted_ = false;
  Table* fresh_ = nullptr;
  Bytes names_, identity_;
  RowClock clock_;
};

}  // namespace mergelite
