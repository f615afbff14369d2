// The payload of a changeset: what one log row holds and what travels between peers. Specified byte
// by byte in docs/format.md.
#pragma once
#include <vector>

#include "shape.h"

namespace mergelite {

constexpr uint8_t kPayloadFormat = 1;
// The transaction goes on in the next sequence; all its parts are merged together.
constexpr uint8_t kFlagContinues = 1;
constexpr uint8_t kFlagsKnown = kFlagContinues;

enum class Operation : uint8_t { kInsert = 1, kUpdate = 2, kDelete = 3 };

// head varint: shape index << 2 | operation
constexpr uint64_t PatchHead(size_t shape_index, Operation operation) {
  return static_cast<uint64_t>(shape_index) << 2 | static_cast<uint64_t>(operation);
}

struct PayloadParts {
  uint8_t flags = 0;
  const uint64_t* shape_hashes = nullptr;
  size_t shape_count = 0;
  uint64_t patch_count = 0;
  Span patches;
};
void EncodePayload(const PayloadParts& parts, Bytes* out);

struct Payload {
  uint8_t flags = 0;
  std::vector<uint64_t> shape_hashes;
  uint64_t patch_count = 0;
  Span patches;

  bool continues() const { return (flags & kFlagContinues) != 0; }
};

enum class DecodeError : uint8_t { kNone, kTruncated, kFormat, kChecksum, kMalformed };
// The header and the checksum. The patches need the shapes: see PatchReader. Flags that are known
// are told even where what follows them is malformed, and are 0 otherwise.
DecodeError DecodePayload(Span bytes, Payload* payload);

struct Patch {
  Operation operation = Operation::kInsert;
  uint32_t shape_index = 0;
  const Shape* shape = nullptr;
  Span encoded_key;
  const Value* key = nullptr;       // shape->keys.size() values
  const uint8_t* bitmap = nullptr;  // which columns an update sets; null for insert and delete
  // One value a column of the shape for an insert; for an update only those its bitmap names are
  // meaningful.
  const Value* values = nullptr;
  Span bytes;  // the patch itself, head included

  bool Sets(size_t column) const {
    if (operation == Operation::kInsert) return true;
    return bitmap != nullptr && (bitmap[column / 8] >> (column % 8) & 1) != 0;
  }
};

// Walks the patches of a payload. The values it hands out stay valid until the next call.
class PatchReader {
 public:
  PatchReader(const Payload& payload, const Shape* const* shapes);
  // False at the end and on bytes that make no sense; tell them apart by ok().
  bool Next(Patch* patch);
  bool ok() const { return ok_; }
  // One patch that stands by itself, with the shapes this reader was made with. False unless the
  // bytes are just that.
  bool ReadOne(Span bytes, Patch* patch) {
    in_ = Reader(bytes);
    left_ = 1;
    return Next(patch) && in_.AtEnd();
  }

 private:
  bool ReadKey(const Shape& shape, Patch* patch);
  bool ReadColumns(const Shape& shape, Patch* patch);
  bool Stop(bool ok) {
    ok_ = ok_ && ok;
    return false;
  }

  Reader in_;
  const Shape* const* shapes_;
  size_t shape_count_;
  uint64_t left_;
  bool ok_ = true;
  std::vector<Value> key_;
  std::vector<Value> values_;
};

// A changeset record, as logs are read and messages are filled: origin, sequence, timestamp,
// payload length (varints), payload.
struct Record {
  uint64_t origin = 0;
  uint64_t sequence = 0;
  uint64_t timestamp = 0;
  Span payload;
};
void AppendRecord(const Record& record, Bytes* out);
bool ReadRecord(Reader* in, Record* record);

}  // namespace mergelite
