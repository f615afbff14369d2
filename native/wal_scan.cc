#include "wal_scan.h"

#include <algorithm>

namespace mergelite {
namespace {

struct Found {
  uint32_t page, frame;
  bool operator<(const Found& other) const {
    return page != other.page ? page < other.page : frame < other.frame;
  }
};

// SQLite locks bytes of this page, the one with byte 2^30, and never writes it.
uint32_t LockPage(uint32_t page_size) { return 0x40000000 / page_size + 1; }

}  // namespace

void WalScan::KeepLast() {
  std::vector<Found> found;
  found.reserve(pages.size());
  for (size_t i = 0; i < pages.size(); i++) {
    if (pages[i] <= size) found.push_back({pages[i], frames[i]});
  }
  std::sort(found.begin(), found.end());
  pages.clear();
  frames.clear();
  for (size_t i = 0; i < found.size(); i++) {
    if (i + 1 < found.size() && found[i + 1].page == found[i].page) continue;
    pages.push_back(found[i].page);
    frames.push_back(found[i].frame);
  }
}

void WalScan::AddUnwritten(uint32_t page_size) {
  if (least >= size) return;
  std::vector<uint32_t> all_pages, all_frames;
  const size_t room = pages.size() + (size - least);
  all_pages.reserve(room);
  all_frames.reserve(room);
  size_t at = 0;
  for (; at < pages.size() && pages[at] <= least; at++) {
    all_pages.push_back(pages[at]);
    all_frames.push_back(frames[at]);
  }
  const uint32_t lock_page = LockPage(page_size);
  for (uint64_t page = uint64_t{least} + 1; page <= size; page++) {
    const bool is_written = at < pages.size() && pages[at] == page;
    const uint32_t frame = is_written ? frames[at++] : 0;
    if (page == lock_page) continue;
    all_pages.push_back(static_cast<uint32_t>(page));
    all_frames.push_back(frame);
  }
  pages.swap(all_pages);
  frames.swap(all_frames);
}

}  // namespace mergelite
