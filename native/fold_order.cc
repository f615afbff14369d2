#include "fold_order.h"

#include <algorithm>

#include "value.h"

namespace mergelite {
namespace {

uint64_t PrefixOf(const Value& value) {
  constexpr uint64_t kSign = uint64_t{1} << 63;
  uint64_t prefix = 0;
  switch (value.type) {
    case Type::kInteger:
      return static_cast<uint64_t>(value.integer) ^ kSign;
    case Type::kReal:
      memcpy(&prefix, &value.real, sizeof prefix);
      return (prefix & kSign) != 0 ? ~prefix : prefix | kSign;
    default:
      for (size_t i = 0; i < sizeof prefix; i++) {
        prefix = prefix << 8 | (i < value.content.size ? value.content.data[i] : 0);
      }
      return prefix;
  }
}

int CompareKeys(Span a, Span b) {
  Reader left(a), right(b);
  Value x, y;
  while (!left.AtEnd() && !right.AtEnd() && ReadValue(&left, &x) && ReadValue(&right, &y)) {
    if (x.type != y.type) return x.type < y.type ? -1 : 1;
    const bool content = x.type == Type::kText || x.type == Type::kBlob;
    const size_t size = content ? std::min(x.content.size, y.content.size) : 0;
    const int order = size > 0 ? memcmp(x.content.data, y.content.data, size) : 0;
    if (order != 0) return order;
    if (content && x.content.size != y.content.size) {
      return x.content.size < y.content.size ? -1 : 1;
    }
    const uint64_t p = PrefixOf(x), q = PrefixOf(y);
    if (p != q) return p < q ? -1 : 1;
  }
  return 0;
}

}  // namespace

bool FoldOrder::Before(const Place& a, const Place& b) const {
  if (a.table_and_type != b.table_and_type) return a.table_and_type < b.table_and_type;
  if (a.prefix != b.prefix) return a.prefix < b.prefix;
  ClockCache::Entry x, y;
  Bytes left, right;
  cache_->Next(a.position, &x, &left);
  cache_->Next(b.position, &y, &right);
  return CompareKeys(x.identity, y.identity) < 0;
}

void FoldOrder::Start(const ClockCache* cache) {
  Clear();
  cache_ = cache;
  places_.reserve(cache->count());
  gathered_ = false;
}

void FoldOrder::Clear() {
  // shrink_to_fit() keeps the memory in code without exceptions.
  std::vector<Place>().swap(places_);
  std::vector<Run>().swap(runs_);
  piece_.clear();
  spelled_.ClearAndTrim(0);
  position_ = skipped_ = 0;
  gathered_ = true;
}

// One more run.
void FoldOrder::Gather() {
  const size_t first = places_.size();
  bool sorted = true;
  Bytes spelled;
  ClockCache::Entry entry;
  while (places_.size() - first < kRunMax) {
    spelled.Clear();
    const size_t next = cache_->Next(position_, &entry, &spelled);
    gathered_ = next == 0;
    if (gathered_) break;
    Reader key(entry.identity);
    Value value;
    ReadValue(&key, &value);
    const Place place{PrefixOf(value), entry.table << 3 | static_cast<uint32_t>(value.type),
                      static_cast<uint32_t>(position_)};
    sorted = sorted && (places_.size() == first || !Before(place, places_.back()));
    places_.push_back(place);
    position_ = next;
  }
  if (places_.size() == first) return;
  const auto before = [this](const Place& a, const Place& b) { return Before(a, b); };
  if (!sorted) std::sort(places_.begin() + static_cast<ptrdiff_t>(first), places_.end(), before);
  // Rows that were written in key order make one run.
  if (!runs_.empty() && !Before(places_[first], places_[first - 1])) {
    runs_.back().end = places_.size();
  } else {
    runs_.push_back({first, places_.size()});
  }
}

// The places of the next piece.
void FoldOrder::Merge() {
  const auto later = [this](const Run& a, const Run& b) { return Later(a, b); };
  while (!runs_.empty() && piece_.size() < kPieceMax) {
    Run& run = runs_.front();
    if (runs_.size() == 1) {
      piece_.push_back(places_[run.at++].position);
      if (run.at == run.end) runs_.clear();
      continue;
    }
    std::pop_heap(runs_.begin(), runs_.end(), later);
    Run& smallest = runs_.back();
    piece_.push_back(places_[smallest.at++].position);
    if (smallest.at == smallest.end) {
      runs_.pop_back();
    } else {
      std::push_heap(runs_.begin(), runs_.end(), later);
    }
  }
}

void FoldOrder::Read(std::vector<ClockCache::Entry>* piece) {
  piece->clear();
  if (!gathered_) {
    Gather();
    const auto later = [this](const Run& a, const Run& b) { return Later(a, b); };
    if (gathered_) std::make_heap(runs_.begin(), runs_.end(), later);
    return;
  }
  if (piece_.empty()) Merge();
  spelled_.Clear();
  spelled_.ReserveAll(piece_.size() * kUuidSpelledBytes);
  piece->reserve(piece_.size());
  for (const uint32_t position : piece_) {
    piece->emplace_back();
    cache_->Next(position, &piece->back(), &spelled_);
  }
}

void FoldOrder::Skip() {
  skipped_ += piece_.size();
  piece_.clear();
}

}  // namespace mergelite
