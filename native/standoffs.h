// What keeps the withheld rows of a table out of it, as far as memory knows: of each the row that
// is in its way. As long as that one stays as it is, so does the withheld row, and needs no second
// try. Never wrong in saying so; where nothing is known all rows are tried.
#pragma once
#include <vector>

#include "bytes.h"

namespace mergelite {

class Standoffs {
 public:
  // What is known is known of one state of the file as others leave it and of one schema.
  struct Epoch {
    uint64_t loads = 0;
    int64_t schema_version = -1;
  };

  bool Knows(const Epoch& epoch) const {
    return known_ && epoch.loads == epoch_.loads && epoch.schema_version == epoch_.schema_version;
  }
  void Forget();
  // From here on every withheld row is told, by Open() or Block().
  void Learn(const Epoch& epoch);
  // A row, by its hash, is not what it was: neither is what depends on it.
  void Touch(uint64_t row) {
    if (live_ > 0) OpenAllOf(row);
  }
  // A row is withheld, and nothing is known of what is in its way: it has to be tried.
  void Open(uint64_t row, Span identity);
  // It has been tried in vain: `by` is in its way, itself when it can be shown in no company.
  void Block(uint64_t row, Span identity, uint64_t by);
  void Remove(uint64_t row, Span identity);
  // The identities of the rows to be tried, once.
  void TakeOpen(std::vector<Bytes>* identities);
  size_t live() const { return live_; }
  size_t bytes() const;

  // More is not remembered: some 20,000 rows.
  static constexpr size_t kBytesMax = size_t{4} << 20;

 private:
  // Never changed but in `alive`: what is learnt is added, and what it replaces is dead.
  struct Entry {
    uint64_t row = 0, by = 0;
    uint32_t identity = 0, identity_size = 0;
    uint32_t next_of_row = 0, next_of_by = 0;  // of one bucket, 0 ends
    bool alive = true;
  };
  Span IdentityAt(const Entry& entry) const {
    return {identities_.data() + entry.identity, entry.identity_size};
  }
  size_t BucketOf(uint64_t hash) const { return hash & (of_row_.size() - 1); }
  void OpenAllOf(uint64_t row);
  void OpenEntry(uint32_t at);
  void Add(Entry entry);
  void Kill(uint32_t at);
  void MakeRoom();

  bool known_ = false;
  Epoch epoch_;
  std::vector<Entry> entries_;  // from 1 on
  std::vector<uint32_t> of_row_, of_by_;
  std::vector<uint32_t> open_;
  Bytes identities_;
  size_t live_ = 0;
};

}  // namespace mergelite
