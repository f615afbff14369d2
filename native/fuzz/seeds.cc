// Writes a few valid inputs for each target, so that fuzzing starts beyond the first checks:
// `seeds <folder>` fills <folder>/{payload,shape,record,row_clock,state,ltx,wal,wal_index}/.
#include <cstdio>

#include "../codec.h"
#include "../ltx_stream.h"
#include "../row_clock.h"
#include "../state_chunk.h"
#include "../wal_index.h"
#include "fuzz.h"
#include "stub_shapes.h"

namespace mergelite::fuzz {
namespace {

class Folder {
 public:
  Folder(const char* root, const char* target) : root_(root), target_(target) {}
  void Add(Span bytes) {
    Text path;
    path << root_ << "/" << target_ << "/seed-" << count_++;
    FILE* file = fopen(path.c_str(), "wb");
    Require(file != nullptr && fwrite(bytes.data, 1, bytes.size, file) == bytes.size &&
                fclose(file) == 0,
            "the seed can be written");
  }

 private:
  const char* root_;
  const char* target_;
  uint64_t count_ = 0;
};

// Each kind of value, with the edges of the integer widths.
void AppendSample(uint64_t which, Bytes* out) {
  const char* text = "Text with trailing blanks  ";
  switch (which % 8) {
    case 0:
      return AppendInteger(out, 0);
    case 1:
      return AppendInteger(out, -129);
    case 2:
      return AppendInteger(out, int64_t{1} << 40);
    case 3:
      return AppendInteger(out, INT64_MIN);
    case 4:
      return AppendReal(out, 5.0);
    case 5:
      return AppendReal(out, -0.1);
    case 6:
      return AppendContent(out, Type::kText, {reinterpret_cast<const uint8_t*>(text), 27});
    default:
      return AppendContent(out, Type::kBlob, {});
  }
}

void AppendPatch(uint64_t shape_index, Operation operation, Bytes* out) {
  const Shape* shape = StubShape(shape_index);
  out->Varint(PatchHead(shape_index, operation));
  for (size_t i = 0; i < shape->keys.size(); i++) AppendSample(shape_index + i, out);
  if (operation == Operation::kDelete) return;
  const bool is_update = operation == Operation::kUpdate;
  // An update sets the even columns: 01010101, cut off at the last column.
  for (size_t i = 0; is_update && i < shape->columns.size(); i += 8) {
    const size_t columns = shape->columns.size() - i;
    out->Byte(static_cast<uint8_t>(0x55 & (columns >= 8 ? 0xff : (1 << columns) - 1)));
  }
  for (size_t i = 0; i < shape->columns.size(); i++) {
    if (is_update && i % 2 != 0) continue;
    if (i % 5 == 4) {
      AppendNull(out);
    } else {
      AppendSample(i, out);
    }
  }
}

void WritePayloads(Folder payloads, Folder records) {
  const uint64_t hashes[] = {0, 1, 2, 3};
  Bytes stream;
  for (uint8_t flags = 0; flags <= kFlagContinues; flags++) {
    Bytes patches, payload;
    for (uint64_t shape = 0; shape < kStubShapes; shape++) {
      AppendPatch(shape, Operation::kInsert, &patches);
      if (!StubShape(shape)->columns.empty()) AppendPatch(shape, Operation::kUpdate, &patches);
      AppendPatch(shape, Operation::kDelete, &patches);
    }
    EncodePayload({flags, hashes, kStubShapes, 3 * kStubShapes - 1, patches.span()}, &payload);
    AppendRecord({9007199254740991, uint64_t{1} << flags, 8192, payload.span()}, &stream);
    // The target adds the checksum itself.
    payload.Truncate(payload.size() - 4);
    payloads.Add(payload.span());
  }
  records.Add(stream.span());
}

void WriteState(Folder states) {
  StateChunk chunk;
  chunk.vector = {{9007199254740991, 3, 8192}, {1, 0, 0}};
  std::vector<Bytes> descriptors;
  Bytes items;
  for (uint64_t shape = 0; shape < kStubShapes; shape++) {
    descriptors.emplace_back();
    EncodeShape(*StubShape(shape), &descriptors.back());
    Bytes patch;
    AppendPatch(shape, Operation::kInsert, &patch);
    StateItem item;
    item.origin = shape % 2;
    item.goes_on = shape % 2 == 0;
    item.timestamp = 8192 + shape;
    item.patch = patch.span();
    AppendStateItem(item, &items);
  }
  for (const Bytes& descriptor : descriptors) chunk.shapes.push_back(descriptor.span());
  const uint8_t name[] = {'s', 't', 'u', 'b'};
  chunk.flags = kStateTableEnds;
  chunk.table = {name, sizeof name};
  chunk.item_count = kStubShapes;
  chunk.items = items.span();
  Bytes out;
  EncodeStateChunk(chunk, &out);
  out.Truncate(out.size() - 4);
  states.Add(out.span());
  out.Clear();
  EncodeStateCursor({true, 5, chunk.table, 7, {name, 1}}, &out);
  states.Add(out.span());
}

void WriteClocks(Folder clocks) {
  PeerIds peers;
  peers.by_ordinal = {0, 40, 20, 30, 10};
  RowClock clock;
  for (uint32_t step = 1; step <= 4; step++) {
    Bytes out;
    clock.Encode(&out);
    clocks.Add(out.span());
    clock.SetColumn(step, {2 * step, step}, peers);
    if (step == 2) clock.SetLife({4, 3}, true, peers);
  }
}

// The first byte is the page size's: 512.
void WriteLtx(Folder files) {
  uint8_t data[1024];
  for (size_t i = 0; i < sizeof data; i++)
    data[i] = static_cast<uint8_t>(i % 7 == 0 ? i >> 3 : i % 5);
  uint32_t numbers[] = {1, 700};
  LtxStream stream(512, 1000, false, {});
  Bytes out, tail;
  out.Byte(0);
  const size_t room = 2 * (kLtxHeadBytes + Lz4Bound(512));
  out.Advance(stream.Encode({512, 2, numbers, data}, out.Reserve(room)));
  stream.Finish(&tail);
  out.Append(tail.span());
  files.Add(out.span());
}

// A WAL of two frames, and the heads of its index; two bytes for the target go before each.
void WriteWal(Folder wals, Folder indexes) {
  WalIndexHeader header{};
  Bytes out;
  out.Byte(0);
  out.Byte(2);
  const size_t begin = out.size();
  BeginWal(&header, 512, 0, out.Reserve(kWalHeadBytes));
  out.Advance(kWalHeadBytes);
  for (uint32_t page = 1; page <= 2; page++) {
    uint8_t* frame = out.Reserve(kWalFrameHeadBytes + 512);
    memset(frame, static_cast<int>(page), kWalFrameHeadBytes + 512);
    const Span content{frame + kWalFrameHeadBytes, 512};
    PutWalFrameHead(&header, page, page == 2 ? 2 : 0, content, frame);
    out.Advance(kWalFrameHeadBytes + 512);
  }
  wals.Add(out.span());
  // Without the head of the WAL, frames are where the target looks first.
  memmove(out.data() + begin, out.data() + begin + kWalHeadBytes,
          out.size() - begin - kWalHeadBytes);
  wals.Add({out.data(), out.size() - kWalHeadBytes});
  header.frames = header.pages = 2;
  SealWalIndexHeader(&header);
  out.Clear();
  out.Byte(0);
  out.Byte(0);
  for (int copy = 0; copy < 2; copy++) {
    memcpy(out.Reserve(sizeof header), &header, sizeof header);
    out.Advance(sizeof header);
  }
  wals.Add(out.span());
  indexes.Add({out.data() + 1, out.size() - 1});
}

}  // namespace
}  // namespace mergelite::fuzz

int main(int argc, char** argv) {
  using namespace mergelite;
  using namespace mergelite::fuzz;
  Require(argc == 2, "seeds takes the folder to fill");
  WritePayloads(Folder(argv[1], "payload"), Folder(argv[1], "record"));
  WriteClocks(Folder(argv[1], "row_clock"));
  WriteState(Folder(argv[1], "state"));
  WriteLtx(Folder(argv[1], "ltx"));
  WriteWal(Folder(argv[1], "wal"), Folder(argv[1], "wal_index"));
  Folder shapes(argv[1], "shape");
  for (uint64_t i = 0; i < kStubShapes; i++) {
    Bytes descriptor;
    EncodeShape(*StubShape(i), &descriptor);
    shapes.Add(descriptor.span());
  }
  return 0;
}
