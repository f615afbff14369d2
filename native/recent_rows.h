// Which rows may have a stamp in their row clock that is as large as a given one. Most rows have
// not, and what is newer than all a row's stamps wins without a look at its clock. Never wrong in
// saying no; wrong in a few of a hundred yeses, which cost a look-up.
#pragma once
#include <vector>

#include "bytes.h"

namespace mergelite {

class RecentRows {
 public:
  // The row's clock has taken in something of this timestamp. `hash` spreads over all 64 bits.
  void Add(uint64_t hash, uint64_t timestamp);
  // Any row may have any stamp up to this one.
  void Raise(uint64_t timestamp);
  bool MayReach(uint64_t hash, uint64_t timestamp) const;
  size_t bytes() const;

  // In all 4 MiB, for three million rows; a window of a small database has 4 KiB.
  static constexpr size_t kWindowsMax = 8;
  static constexpr size_t kWordsMin = 512, kWordsMax = 65536;

 private:
  // A Bloom filter in which the four bits of a row are in one word: one cache line is touched.
  struct Window {
    std::vector<uint64_t> words;
    size_t room = 0;      // rows until it is full
    uint64_t newest = 0;  // no row in it was added with more
  };
  // Bits a row gets: one in thirty of other rows is then taken for it.
  static constexpr size_t kBitsPerRow = 10;
  static uint64_t BitsOf(uint64_t hash);
  static size_t WordOf(uint64_t hash, const Window& window) {
    return static_cast<size_t>(hash) & (window.words.size() - 1);
  }
  // A pause in the stamps: what comes after it must not make the rows before it look as recent.
  static constexpr uint64_t kPauseMs = 10000;
  static bool Outdated(const Window& window, uint64_t timestamp);
  void Open();

  std::vector<Window> windows_;  // the last one is being filled
  uint64_t floor_ = 0;
};

}  // namespace mergelite
