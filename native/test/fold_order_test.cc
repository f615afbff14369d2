#include "../fold_order.h"

#include "../value.h"
#include "check.h"

namespace mergelite::test {
namespace {

constexpr size_t kRows = 3 * FoldOrder::kPieceMax + 77;

// Rows of two tables under integers, and of a third under texts that begin alike.
void Fill(ClockCache* cache, Random* random, bool ascending) {
  Bytes clock;
  clock.Byte(1);
  for (size_t i = 0; i < kRows; i++) {
    Bytes key;
    const auto number = static_cast<int64_t>(ascending ? i : random->Below(1u << 30)) - 4000;
    const auto table = static_cast<uint32_t>(ascending ? 1 : 1 + random->Below(3));
    if (table == 3) {
      char text[] = "prefixed-000000000000";
      uint64_t digits = static_cast<uint64_t>(number + 4000);
      for (size_t at = sizeof text - 2; digits > 0; digits /= 10) {
        text[at--] = static_cast<char>('0' + digits % 10);
      }
      AppendContent(&key, Type::kText, {reinterpret_cast<const uint8_t*>(text), sizeof text - 1});
    } else {
      AppendInteger(&key, number);
    }
    cache->Put(table, key.span(), key.span(), clock.span());
  }
}

bool Ascending(const ClockCache::Entry& a, const ClockCache::Entry& b) {
  if (a.table != b.table) return a.table < b.table;
  Reader left(a.identity), right(b.identity);
  Value x, y;
  if (!ReadValue(&left, &x) || !ReadValue(&right, &y) || x.type != y.type) return false;
  if (x.type == Type::kInteger) return x.integer < y.integer;
  return memcmp(x.content.data, y.content.data, x.content.size) < 0;
}

void CheckOrder(const ClockCache& cache) {
  FoldOrder order;
  order.Start(&cache);
  std::vector<ClockCache::Entry> all, piece, again;
  while (!order.done()) {
    order.Read(&piece);
    order.Read(&again);
    CHECK(!piece.empty() && piece.size() <= FoldOrder::kPieceMax);
    CHECK(again.size() == piece.size() && again[0].identity == piece[0].identity);
    order.Skip();
    order.Skip();
    for (const ClockCache::Entry& entry : piece) all.push_back(entry);
  }
  CHECK(all.size() == cache.count());
  for (size_t i = 1; i < all.size(); i++) CHECK(Ascending(all[i - 1], all[i]));
  order.Read(&piece);
  CHECK(piece.empty());
}

TEST(folding_goes_through_the_keys_in_order) {
  Random random(3);
  ClockCache cache;
  Fill(&cache, &random, false);
  CheckOrder(cache);
}

TEST(folding_takes_keys_that_came_in_order_as_they_came) {
  Random random(4);
  ClockCache cache;
  Fill(&cache, &random, true);
  CheckOrder(cache);
  cache.Clear();
  CheckOrder(cache);
}

}  // namespace
}  // namespace mergelite::test
