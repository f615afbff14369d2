// The bytes of state transfers: what is written reads back, and nothing else does.
#include "../state_chunk.h"

#include "../crc32c.h"
#include "check.h"

namespace mergelite::test {
namespace {

void Encode(Bytes* out) {
  Bytes items;
  StateItem item;
  item.origin = 1;
  item.goes_on = true;
  item.timestamp = 0x1fffffffffffff;
  item.patch = SpanOf("ab");
  AppendStateItem(item, &items);
  item = {};
  item.mention = item.unborn = true;
  item.timestamp = 1;
  item.sequence = 7;
  item.patch = SpanOf("cd");
  AppendStateItem(item, &items);
  StateChunk chunk;
  chunk.flags = kStateTableEnds;
  chunk.vector = {{5, 6, 7}, {8, 0, 0}};
  chunk.shapes = {SpanOf("shape")};
  chunk.table = SpanOf("note");
  chunk.order = 0x0102030405060708;
  chunk.after = SpanOf("key");
  chunk.item_count = 2;
  chunk.items = items.span();
  EncodeStateChunk(chunk, out);
}

void Sign(Bytes* bytes) {
  bytes->Truncate(bytes->size() - 4);
  bytes->Little(Crc32c(bytes->span()), 4);
}

}  // namespace

TEST(StateChunkReadsBack) {
  Bytes bytes;
  Encode(&bytes);
  const Exact exact(bytes.span());
  StateChunk chunk;
  CHECK(DecodeStateChunk(exact.span(), &chunk) == DecodeError::kNone);
  CHECK(chunk.flags == kStateTableEnds && chunk.vector.size() == 2);
  CHECK(chunk.vector[0].peer == 5 && chunk.vector[0].sequence == 6 &&
        chunk.vector[0].timestamp == 7);
  CHECK(chunk.shapes.size() == 1 && chunk.shapes[0] == SpanOf("shape"));
  CHECK(chunk.table == SpanOf("note") && chunk.order == 0x0102030405060708);
  CHECK(chunk.after == SpanOf("key") && chunk.item_count == 2);
  Reader in(chunk.items);
  StateItem item;
  CHECK(ReadStateItem(&in, 2, &item));
  CHECK(item.origin == 1 && item.goes_on && !item.mention && item.timestamp == 0x1fffffffffffff);
  CHECK(item.patch == SpanOf("ab"));
  CHECK(ReadStateItem(&in, 2, &item));
  CHECK(item.mention && item.unborn && !item.goes_on && item.sequence == 7 && in.AtEnd());
  Reader again(chunk.items);
  CHECK(!ReadStateItem(&again, 1, &item));
}

TEST(StateChunkRefusesDamage) {
  Bytes bytes;
  Encode(&bytes);
  StateChunk chunk;
  for (size_t size = 0; size < bytes.size(); size++) {
    const Exact cut(bytes.span(), size);
    CHECK(DecodeStateChunk(cut.span(), &chunk) != DecodeError::kNone);
  }
  for (size_t at = 0; at < bytes.size(); at++) {
    Exact damaged(bytes.span());
    const_cast<uint8_t*>(damaged.span().data)[at] ^= 0x10;
    CHECK(DecodeStateChunk(damaged.span(), &chunk) != DecodeError::kNone);
  }
  // With a checksum that is right: no read goes beyond the end, whatever is decoded.
  for (size_t at = 0; at + 4 < bytes.size(); at++) {
    for (const uint8_t byte : {0x00, 0x7f, 0x80, 0xff}) {
      Bytes forged;
      forged.Append(bytes.span());
      forged.data()[at] = byte;
      Sign(&forged);
      const Exact exact(forged.span());
      if (DecodeStateChunk(exact.span(), &chunk) != DecodeError::kNone) continue;
      Reader in(chunk.items);
      StateItem item;
      while (!in.AtEnd() && ReadStateItem(&in, chunk.vector.size(), &item)) {
      }
    }
  }
}

TEST(StateCursorReadsBack) {
  StateCursor cursor;
  CHECK(DecodeStateCursor({}, &cursor) && !cursor.rows && cursor.table.size == 0);
  Bytes bytes;
  EncodeStateCursor({true, 9, SpanOf("t"), 11, SpanOf("after")}, &bytes);
  const Exact exact(bytes.span());
  CHECK(DecodeStateCursor(exact.span(), &cursor));
  CHECK(cursor.rows && cursor.parked_after == 9 && cursor.order == 11);
  CHECK(cursor.table == SpanOf("t") && cursor.after == SpanOf("after"));
  for (size_t size = 1; size < bytes.size(); size++) {
    const Exact cut(bytes.span(), size);
    CHECK(!DecodeStateCursor(cut.span(), &cursor));
  }
  bytes.Byte(0);
  CHECK(!DecodeStateCursor(bytes.span(), &cursor));
}

}  // namespace mergelite::test
