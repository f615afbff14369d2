#include "codec.h"

#include "crc32c.h"
#include "hlc.h"
#include "stamp.h"

namespace mergelite {
namespace {

constexpr size_t kChecksumBytes = 4;
constexpr uint64_t kPeerIdMax = (uint64_t{1} << 53) - 1;

}  // namespace

void EncodePayload(const PayloadParts& parts, Bytes* out) {
  out->Byte(kPayloadFormat);
  out->Byte(parts.flags);
  out->Varint(parts.shape_count);
  for (size_t i = 0; i < parts.shape_count; i++) out->Little(parts.shape_hashes[i], 8);
  out->Varint(parts.patch_count);
  out->Append(parts.patches);
  out->Little(Crc32c(out->span()), kChecksumBytes);
}

DecodeError DecodePayload(Span bytes, Payload* payload) {
  payload->flags = 0;
  if (bytes.size < kChecksumBytes) return DecodeError::kTruncated;
  const Span checked{bytes.data, bytes.size - kChecksumBytes};
  Reader tail(checked.end(), bytes.end());
  if (tail.Little(kChecksumBytes) != Crc32c(checked)) return DecodeError::kChecksum;
  Reader in(checked);
  if (in.Byte() != kPayloadFormat) return DecodeError::kFormat;
  const uint8_t flags = in.Byte();
  if ((flags & ~kFlagsKnown) != 0) return DecodeError::kFormat;
  payload->flags = flags;
  const uint64_t shapes = in.Varint();
  if (shapes > in.left() / 8) return DecodeError::kMalformed;
  payload->shape_hashes.clear();
  payload->shape_hashes.reserve(static_cast<size_t>(shapes));
  for (uint64_t i = 0; i < shapes; i++) payload->shape_hashes.push_back(in.Little(8));
  payload->patch_count = in.Varint();
  // A patch takes at least two bytes, its head and a key.
  if (!in.ok() || payload->patch_count > in.left() / 2) return DecodeError::kMalformed;
  payload->patches = {in.at(), in.left()};
  return DecodeError::kNone;
}

PatchReader::PatchReader(const Payload& payload, const Shape* const* shapes)
    : in_(payload.patches),
      shapes_(shapes),
      shape_count_(payload.shape_hashes.size()),
      left_(payload.patch_count) {}

bool PatchReader::Next(Patch* patch) {
  if (left_ == 0) return Stop(in_.AtEnd());
  left_--;
  const uint8_t* begin = in_.at();
  const uint64_t head = in_.Varint();
  const uint64_t operation = head & 3;
  if (!in_.ok() || operation == 0 || head >> 2 >= shape_count_) return Stop(false);
  patch->operation = static_cast<Operation>(operation);
  patch->shape_index = static_cast<uint32_t>(head >> 2);
  patch->shape = shapes_[patch->shape_index];
  if (!ReadKey(*patch->shape, patch) || !ReadColumns(*patch->shape, patch)) return Stop(false);
  patch->bytes = {begin, static_cast<size_t>(in_.at() - begin)};
  return true;
}

bool PatchReader::ReadKey(const Shape& shape, Patch* patch) {
  if (key_.size() < shape.keys.size()) key_.resize(shape.keys.size());
  const uint8_t* begin = in_.at();
  for (size_t i = 0; i < shape.keys.size(); i++) {
    if (!ReadValue(&in_, &key_[i]) || key_[i].type == Type::kNull) return false;
  }
  patch->encoded_key = {begin, static_cast<size_t>(in_.at() - begin)};
  patch->key = key_.data();
  return true;
}

bool PatchReader::ReadColumns(const Shape& shape, Patch* patch) {
  patch->bitmap = nullptr;
  patch->values = nullptr;
  if (patch->operation == Operation::kDelete) return true;
  const size_t count = shape.columns.size();
  if (patch->operation == Operation::kUpdate) {
    const Span bitmap = in_.Take(shape.bitmap_bytes());
    // Bits beyond the last column would be a second spelling of the same patch.
    if (!in_.ok() || count == 0 || (count % 8 != 0 && bitmap.end()[-1] >> (count % 8) != 0)) {
      return false;
    }
    patch->bitmap = bitmap.data;
  } else if (count > in_.left()) {
    return false;  // every value takes a byte at least
  }
  if (values_.size() < count) values_.resize(count);
  for (size_t i = 0; i < count; i++) {
    if (patch->Sets(i) && !ReadValue(&in_, &values_[i])) return false;
  }
  patch->values = values_.data();
  return true;
}

void AppendRecord(const Record& record, Bytes* out) {
  out->Varint(record.origin);
  out->Varint(record.sequence);
  out->Varint(record.timestamp);
  out->Varint(record.payload.size);
  out->Append(record.payload);
}

bool ReadRecord(Reader* in, Record* record) {
  record->origin = in->Varint();
  record->sequence = in->Varint();
  record->timestamp = in->Varint();
  record->payload = in->Take(in->Varint());
  return in->ok() && record->origin > 0 && record->origin <= kPeerIdMax && record->sequence > 0 &&
         record->sequence <= kSequenceMax && record->timestamp > 0 &&
         record->timestamp <= kTimestampMax;
}

}  // namespace mergelite
