#include "standoffs.h"

namespace mergelite {
namespace {

constexpr size_t kBucketsMin = 64;

}  // namespace

void Standoffs::Forget() {
  known_ = false;
  std::vector<Entry>().swap(entries_);
  for (std::vector<uint32_t>* list : {&of_row_, &of_by_, &open_}) {
    std::vector<uint32_t>().swap(*list);
  }
  identities_.ClearAndTrim(0);
  live_ = 0;
}

void Standoffs::Learn(const Epoch& epoch) {
  Forget();
  known_ = true;
  epoch_ = epoch;
}

size_t Standoffs::bytes() const {
  return entries_.capacity() * sizeof(Entry) +
         (of_row_.capacity() + of_by_.capacity() + open_.capacity()) * sizeof(uint32_t) +
         identities_.capacity();
}

void Standoffs::Open(uint64_t row, Span identity) { Block(row, identity, 0); }

void Standoffs::Block(uint64_t row, Span identity, uint64_t by) {
  if (!known_) return;
  Remove(row, identity);
  MakeRoom();
  Entry entry;
  entry.row = row;
  entry.by = by;
  entry.identity = static_cast<uint32_t>(identities_.size());
  entry.identity_size = static_cast<uint32_t>(identity.size);
  identities_.Append(identity);
  Add(entry);
  if (bytes() > kBytesMax) Forget();
}

void Standoffs::Remove(uint64_t row, Span identity) {
  if (live_ == 0) return;
  for (uint32_t at = of_row_[BucketOf(row)]; at != 0; at = entries_[at].next_of_row) {
    const Entry& entry = entries_[at];
    if (entry.alive && entry.row == row && IdentityAt(entry) == identity) Kill(at);
  }
}

void Standoffs::TakeOpen(std::vector<Bytes>* identities) {
  for (const uint32_t at : open_) {
    if (!entries_[at].alive) continue;
    identities->emplace_back();
    identities->back().Append(IdentityAt(entries_[at]));
  }
  open_.clear();
}

// What is opened joins the chains at their heads, behind us.
void Standoffs::OpenAllOf(uint64_t row) {
  for (uint32_t at = of_row_[BucketOf(row)]; at != 0; at = entries_[at].next_of_row) {
    if (entries_[at].alive && entries_[at].row == row) OpenEntry(at);
  }
  for (uint32_t at = of_by_[BucketOf(row)]; at != 0; at = entries_[at].next_of_by) {
    if (entries_[at].alive && entries_[at].by == row) OpenEntry(at);
  }
}

void Standoffs::OpenEntry(uint32_t at) {
  if (entries_[at].by == 0) return;
  Entry entry = entries_[at];
  Kill(at);
  entry.by = 0;
  entry.alive = true;
  Add(entry);
}

void Standoffs::Kill(uint32_t at) {
  entries_[at].alive = false;
  live_--;
}

void Standoffs::Add(Entry entry) {
  const auto at = static_cast<uint32_t>(entries_.size());
  uint32_t& of_row = of_row_[BucketOf(entry.row)];
  entry.next_of_row = of_row;
  of_row = at;
  if (entry.by == 0) {
    open_.push_back(at);
  } else {
    uint32_t& of_by = of_by_[BucketOf(entry.by)];
    entry.next_of_by = of_by;
    of_by = at;
  }
  entries_.push_back(entry);
  live_++;
}

// Leaves the dead behind once there are as many as living.
void Standoffs::MakeRoom() {
  if (!entries_.empty() && entries_.size() < of_row_.size()) return;
  std::vector<Entry> before;
  before.swap(entries_);
  Bytes identities;
  identities.Swap(identities_);
  size_t buckets = kBucketsMin;
  while (buckets < live_ * 4) buckets *= 2;
  of_row_.assign(buckets, 0);
  of_by_.assign(buckets, 0);
  entries_.emplace_back();
  entries_[0].alive = false;
  open_.clear();
  live_ = 0;
  for (Entry& entry : before) {
    if (!entry.alive) continue;
    const Span identity{identities.data() + entry.identity, entry.identity_size};
    entry.identity = static_cast<uint32_t>(identities_.size());
    identities_.Append(identity);
    Add(entry);
  }
}

}  // namespace mergelite
