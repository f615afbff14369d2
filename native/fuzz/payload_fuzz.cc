// The payload decoder over foreign bytes. Whatever it accepts has to be the one encoding of what it
// read: written again, it gives the same bytes.
#include "../codec.h"
#include "../crc32c.h"
#include "fuzz.h"
#include "stub_shapes.h"

namespace mergelite::fuzz {
namespace {

void ReadContent(const Value& value) {
  Bytes identity;
  for (int collation = 0; collation <= 2; collation++) {
    identity.Clear();
    AppendIdentity(&identity, value, static_cast<Collation>(collation));
    Exact copy(identity.span());
    Reader in(copy.span());
    Value again;
    Require(ReadValue(&in, &again) && in.AtEnd(), "an identity is one encoded value");
  }
}

void AppendPatch(const Patch& patch, Bytes* out) {
  out->Varint(PatchHead(patch.shape_index, patch.operation));
  for (size_t i = 0; i < patch.shape->keys.size(); i++) AppendValue(out, patch.key[i]);
  if (patch.operation == Operation::kDelete) return;
  const size_t columns = patch.shape->columns.size();
  for (size_t i = 0; patch.bitmap != nullptr && i < columns; i += 8) {
    uint8_t bits = 0;
    for (size_t column = i; column < columns && column < i + 8; column++) {
      if (patch.Sets(column)) bits = static_cast<uint8_t>(bits | 1 << (column - i));
    }
    out->Byte(bits);
  }
  for (size_t i = 0; i < columns; i++) {
    if (patch.Sets(i)) AppendValue(out, patch.values[i]);
  }
}

void ReadValues(const Patch& patch) {
  for (size_t i = 0; i < patch.shape->keys.size(); i++) ReadContent(patch.key[i]);
  if (patch.operation == Operation::kDelete) return;
  for (size_t i = 0; i < patch.shape->columns.size(); i++) {
    if (patch.Sets(i)) ReadContent(patch.values[i]);
  }
}

void ReadPayload(Span bytes) {
  Payload payload;
  if (DecodePayload(bytes, &payload) != DecodeError::kNone) return;
  std::vector<const Shape*> shapes;
  for (uint64_t hash : payload.shape_hashes) shapes.push_back(StubShape(hash));
  PatchReader reader(payload, shapes.data());
  Bytes patches;
  Patch patch;
  uint64_t count = 0;
  while (reader.Next(&patch)) {
    ReadValues(patch);
    const size_t begin = patches.size();
    AppendPatch(patch, &patches);
    const Span again{patches.data() + begin, patches.size() - begin};
    Require(again == patch.bytes, "a patch has one encoding");
    count++;
  }
  if (!reader.ok()) return;
  Require(count == payload.patch_count, "as many patches as the payload says");
  Bytes whole;
  EncodePayload({payload.flags, payload.shape_hashes.data(), payload.shape_hashes.size(), count,
                 patches.span()},
                &whole);
  Require(whole.span() == bytes, "a payload has one encoding");
}

}  // namespace
}  // namespace mergelite::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mergelite;
  const Span input{data, size};
  Payload payload;
  (void)DecodePayload(fuzz::Exact(input).span(), &payload);
  // With its checksum put right, for no fuzzer finds one by chance.
  Bytes bytes;
  bytes.Append(input);
  bytes.Little(Crc32c(input), 4);
  fuzz::Exact copy(bytes.span());
  fuzz::ReadPayload(copy.span());
  return 0;
}
