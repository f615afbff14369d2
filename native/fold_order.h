// The order in which a generation of row clocks is folded: that of the clock tables' keys, so that
// each page is written once. Sorted as it is needed, a piece at a time, so that no moment is long.
#pragma once
#include "clock_cache.h"

namespace mergelite {

class FoldOrder {
 public:
  // Entries a piece has at most: sorted within a millisecond, folded in a few.
  static constexpr size_t kPieceMax = 4096;

  // `cache` must stay as it is until Clear().
  void Start(const ClockCache* cache);
  void Clear();
  bool done() const { return at_ == places_.size(); }
  // The next entries in key order, none when done. The same ones again until Skip() is called.
  void Read(std::vector<ClockCache::Entry>* piece);
  void Skip();

 private:
  // Table, type, and what the key begins with: one look at these orders nearly all entries.
  struct Place {
    uint64_t prefix;
    uint32_t table_and_type;
    uint32_t position;
  };
  bool Before(const Place& a, const Place& b) const;
  size_t SortPiece();

  const ClockCache* cache_ = nullptr;
  std::vector<Place> places_;
  size_t at_ = 0;
  size_t piece_end_ = 0;
  bool sorted_ = false;
  // Everything before one of these comes before everything after it; descending.
  std::vector<size_t> bounds_;
};

}  // namespace mergelite
