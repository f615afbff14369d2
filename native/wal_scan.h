// Which pages a stretch of the WAL leaves behind, and where each of them is.
#pragma once
#include <vector>

#include "wal_format.h"

namespace mergelite {

struct WalScan {
  // Rising; of each the last frame, or 0 for what the database file has.
  std::vector<uint32_t> pages, frames;
  uint32_t commits = 0;
  uint32_t size = 0;   // of the database behind it, in pages
  uint32_t least = 0;  // the smallest size it had on the way
  // The frames do not lead to the end that was published: they cannot be told apart from others.
  bool broken = false;

  // `pages` is the size of the database behind a commit.
  void AddCommit(uint32_t pages) {
    commits++;
    if (pages < least) least = pages;
  }
  // Of frames in the order of the WAL, those that count.
  void KeepLast();
  // Pages above `least` that no frame has: the database has grown by them unwritten.
  void AddUnwritten(uint32_t page_size);
};

}  // namespace mergelite
