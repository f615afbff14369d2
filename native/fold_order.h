// The order in which a generation of row clocks is folded: that of the clock tables' keys, so that
// each page is written once. Sorted a run at a time, and the runs merged a piece at a time, so that
// no moment is long.
#pragma once
#include "clock_cache.h"

namespace mergelite {

class FoldOrder {
 public:
  // Entries a piece has at most: folded in a few milliseconds.
  static constexpr size_t kPieceMax = 2048;
  // Entries that are sorted at a time, in about two.
  static constexpr size_t kRunMax = 16384;

  // `cache` must stay as it is until Clear().
  void Start(const ClockCache* cache);
  void Clear();
  bool done() const { return gathered_ && skipped_ == places_.size(); }
  // The next entries in key order, none when done, or while there are more to be sorted first. The
  // same ones again until Skip() is called; valid as long.
  void Read(std::vector<ClockCache::Entry>* piece);
  void Skip();

 private:
  // Table, type, and what the key begins with: one look at these orders nearly all entries.
  struct Place {
    uint64_t prefix;
    uint32_t table_and_type;
    uint32_t position;
  };
  // Places in order, up to `end`.
  struct Run {
    size_t at, end;
  };
  bool Before(const Place& a, const Place& b) const;
  bool Later(const Run& a, const Run& b) const { return Before(places_[b.at], places_[a.at]); }
  void Gather();
  void Merge();

  const ClockCache* cache_ = nullptr;
  size_t position_ = 0;  // in the cache
  bool gathered_ = true;
  std::vector<Place> places_;
  std::vector<Run> runs_;  // a heap: the one with the smallest key is in front
  std::vector<uint32_t> piece_;
  size_t skipped_ = 0;
  Bytes spelled_;
};

}  // namespace mergelite
