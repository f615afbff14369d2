#include "../fold_order.h"

#include "../value.h"
#include "check.h"

namespace mergelite::test {
namespace {

constexpr size_t kRows = 3 * FoldOrder::kRunMax + 77;

// Texts that begin alike, and for every other number in the place of a UUID.
void AppendText(Bytes* key, uint64_t number) {
  char text[] = "00000000-0000-4000-8000-000000000000";
  if (number % 2 == 0) text[8] = '+';
  for (size_t at = sizeof text - 2; number > 0; number /= 10) {
    text[at--] = static_cast<char>('0' + number % 10);
  }
  AppendContent(key, Type::kText, {reinterpret_cast<const uint8_t*>(text), sizeof text - 1});
}

// Rows of two tables under integers, and of a third under texts.
void Fill(ClockCache* cache, Random* random, bool ascending) {
  Bytes clock;
  clock.Byte(1);
  for (size_t i = 0; i < kRows; i++) {
    Bytes key;
    const auto number = static_cast<int64_t>(ascending ? i : random->Below(1u << 30)) - 4000;
    const auto table = static_cast<uint32_t>(ascending ? 1 : 1 + random->Below(3));
    if (table == 3) {
      AppendText(&key, static_cast<uint64_t>(number + 4000));
    } else {
      AppendInteger(&key, number);
    }
    cache->Put({table, key.span()}, key.span(), clock.span());
  }
}

bool Ascending(uint32_t table, const Bytes& a, uint32_t other, const Bytes& b) {
  if (table != other) return table < other;
  Reader left(a.span()), right(b.span());
  Value x, y;
  if (!ReadValue(&left, &x) || !ReadValue(&right, &y) || x.type != y.type) return false;
  if (x.type == Type::kInteger) return x.integer < y.integer;
  return memcmp(x.content.data, y.content.data, x.content.size) < 0;
}

void CheckOrder(const ClockCache& cache) {
  FoldOrder order;
  order.Start(&cache);
  std::vector<ClockCache::Entry> piece, again;
  Bytes last;
  uint32_t table = 0;
  size_t count = 0, reads = 0;
  while (!order.done()) {
    order.Read(&piece);
    if (piece.empty()) {
      // Still sorting.
      CHECK(count == 0 && ++reads <= cache.count() / FoldOrder::kRunMax + 1);
      continue;
    }
    const Span first = piece[0].identity;
    order.Read(&again);
    CHECK(piece.size() <= FoldOrder::kPieceMax && again.size() == piece.size());
    CHECK(again[0].identity == first);
    for (const ClockCache::Entry& entry : again) {
      Bytes key;
      key.Append(entry.identity);
      CHECK(entry.key == entry.identity);
      CHECK(count++ == 0 || Ascending(table, last, entry.table, key));
      table = entry.table;
      last = static_cast<Bytes&&>(key);
    }
    order.Skip();
    order.Skip();
  }
  CHECK(count == cache.count());
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
