// Chunks of state and cursors over foreign bytes. The target adds the checksum itself. Whatever is
// accepted has to be the one encoding of what was read.
#include "../crc32c.h"
#include "../state_chunk.h"
#include "fuzz.h"
#include "stub_shapes.h"

namespace mergelite::fuzz {
namespace {

void ReadItems(const StateChunk& chunk) {
  Payload payload;
  std::vector<const Shape*> shapes;
  for (size_t i = 0; i < chunk.shapes.size(); i++) {
    payload.shape_hashes.push_back(i);
    shapes.push_back(StubShape(i));
  }
  PatchReader reader(payload, shapes.data());
  Reader in(chunk.items);
  Bytes again;
  for (uint64_t i = 0; i < chunk.item_count; i++) {
    StateItem item;
    if (!ReadStateItem(&in, chunk.vector.size(), &item)) return;
    AppendStateItem(item, &again);
    Patch patch;
    if (!reader.ReadOne(item.patch, &patch)) continue;
    Require(patch.bytes == item.patch, "a patch is all of its item");
  }
  const Span read{chunk.items.data, static_cast<size_t>(in.at() - chunk.items.data)};
  Require(again.span() == read, "an item has one encoding");
}

void ReadChunk(Span bytes) {
  StateChunk chunk;
  if (DecodeStateChunk(bytes, &chunk) != DecodeError::kNone) return;
  Bytes again;
  EncodeStateChunk(chunk, &again);
  Require(again.span() == bytes, "a chunk has one encoding");
  ReadItems(chunk);
}

void ReadCursor(Span bytes) {
  StateCursor cursor;
  if (!DecodeStateCursor(bytes, &cursor) || bytes.size == 0) return;
  Bytes again;
  EncodeStateCursor(cursor, &again);
  Require(again.span() == bytes, "a cursor has one encoding");
}

}  // namespace
}  // namespace mergelite::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mergelite;
  fuzz::Exact copy({data, size});
  fuzz::ReadCursor(copy.span());
  Bytes chunk;
  chunk.Append(copy.span());
  chunk.Little(Crc32c(copy.span()), 4);
  fuzz::Exact signed_copy(chunk.span());
  fuzz::ReadChunk(signed_copy.span());
  return 0;
}
