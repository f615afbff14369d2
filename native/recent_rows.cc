#include "recent_rows.h"

#include <algorithm>

#include "hlc.h"

namespace mergelite {

// The low bits of the hash choose the word.
uint64_t RecentRows::BitsOf(uint64_t hash) {
  return uint64_t{1} << (hash >> 58) | uint64_t{1} << (hash >> 52 & 63) |
         uint64_t{1} << (hash >> 46 & 63) | uint64_t{1} << (hash >> 40 & 63);
}

void RecentRows::Add(uint64_t hash, uint64_t timestamp) {
  if (timestamp <= floor_) return;
  if (windows_.empty() || windows_.back().room == 0 || Outdated(windows_.back(), timestamp)) {
    Open();
  }
  Window& window = windows_.back();
  window.newest = std::max(window.newest, timestamp);
  uint64_t& word = window.words[WordOf(hash, window)];
  const uint64_t bits = BitsOf(hash);
  if ((word & bits) == bits) return;
  word |= bits;
  window.room--;
}

// One with few rows in it is no loss.
bool RecentRows::Outdated(const Window& window, uint64_t timestamp) {
  const size_t rows = window.words.size() * 64 / kBitsPerRow;
  return window.room < rows / 4 * 3 && timestamp > window.newest + (kPauseMs << kCounterBits);
}

// Of too many windows the oldest by its stamps goes: what comes in is mostly newer than that.
void RecentRows::Open() {
  size_t words = kWordsMin;
  if (!windows_.empty()) words = std::min(windows_.back().words.size() * 2, kWordsMax);
  if (windows_.size() == kWindowsMax) {
    const auto oldest =
        std::min_element(windows_.begin(), windows_.end(),
                         [](const Window& a, const Window& b) { return a.newest < b.newest; });
    floor_ = std::max(floor_, oldest->newest);
    windows_.erase(oldest);
  }
  windows_.push_back({});
  windows_.back().words.resize(words, 0);
  windows_.back().room = words * 64 / kBitsPerRow;
}

void RecentRows::Raise(uint64_t timestamp) {
  floor_ = std::max(floor_, timestamp);
  const auto below = [this](const Window& window) { return window.newest <= floor_; };
  windows_.erase(std::remove_if(windows_.begin(), windows_.end(), below), windows_.end());
}

bool RecentRows::MayReach(uint64_t hash, uint64_t timestamp) const {
  if (timestamp <= floor_) return true;
  const uint64_t bits = BitsOf(hash);
  for (const Window& window : windows_) {
    if (window.newest < timestamp) continue;
    if ((window.words[WordOf(hash, window)] & bits) == bits) return true;
  }
  return false;
}

size_t RecentRows::bytes() const {
  size_t bytes = 0;
  for (const Window& window : windows_) bytes += window.words.size() * sizeof(uint64_t);
  return bytes;
}

}  // namespace mergelite
