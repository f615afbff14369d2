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
  cache_->Next(a.position, &x);
  cache_->Next(b.position, &y);
  return CompareKeys(x.identity, y.identity) < 0;
}

void FoldOrder::Start(const ClockCache* cache) {
  Clear();
  cache_ = cache;
  places_.reserve(cache->count());
  sorted_ = true;
  ClockCache::Entry entry;
  size_t position = 0;
  for (size_t next; (next = cache->Next(position, &entry)) != 0; position = next) {
    Reader key(entry.identity);
    Value first;
    ReadValue(&key, &first);
    const Place place{PrefixOf(first), entry.table << 3 | static_cast<uint32_t>(first.type),
                      static_cast<uint32_t>(position)};
    sorted_ = sorted_ && (places_.empty() || !Before(place, places_.back()));
    places_.push_back(place);
  }
  bounds_.push_back(places_.size());
}

void FoldOrder::Clear() {
  // shrink_to_fit() keeps the memory in code without exceptions.
  std::vector<Place>().swap(places_);
  bounds_.clear();
  at_ = piece_end_ = 0;
}

// Quicksort that goes on only where the next piece is: in all it costs what a sort does.
size_t FoldOrder::SortPiece() {
  if (sorted_) return std::min(at_ + kPieceMax, places_.size());
  const auto before = [this](const Place& a, const Place& b) { return Before(a, b); };
  const auto first = places_.begin() + static_cast<ptrdiff_t>(at_);
  while (bounds_.back() - at_ > kPieceMax) {
    const size_t half = (bounds_.back() - at_) / 2;
    std::nth_element(first, first + static_cast<ptrdiff_t>(half),
                     places_.begin() + static_cast<ptrdiff_t>(bounds_.back()), before);
    bounds_.push_back(at_ + half);
  }
  std::sort(first, places_.begin() + static_cast<ptrdiff_t>(bounds_.back()), before);
  return bounds_.back();
}

void FoldOrder::Read(std::vector<ClockCache::Entry>* piece) {
  piece->clear();
  if (done()) return;
  if (piece_end_ == at_) piece_end_ = SortPiece();
  piece->reserve(piece_end_ - at_);
  for (size_t i = at_; i < piece_end_; i++) {
    piece->emplace_back();
    cache_->Next(places_[i].position, &piece->back());
  }
}

void FoldOrder::Skip() {
  if (piece_end_ == at_) return;
  at_ = piece_end_;
  if (!sorted_) bounds_.pop_back();
}

}  // namespace mergelite
