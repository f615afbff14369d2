#include "state_chunk.h"

#include "crc32c.h"
#include "hlc.h"
#include "stamp.h"

namespace mergelite {
namespace {

constexpr size_t kChecksumBytes = 4;
constexpr size_t kTimestampBytes = 7;
constexpr uint64_t kPeerIdMax = (uint64_t{1} << 53) - 1;
constexpr uint64_t kGoesOn = 1, kMention = 2, kUnborn = 4;

void AppendSized(Span span, Bytes* out) {
  out->Varint(span.size);
  out->Append(span);
}

bool ReadName(Reader* in, Span* name) {
  *name = in->Take(in->Varint());
  return in->ok() && name->size <= kNameBytesMax &&
         (name->size == 0 || memchr(name->data, 0, name->size) == nullptr);
}

bool ReadBody(Reader* in, StateChunk* chunk) {
  chunk->swept = in->Varint();
  if (!ReadStateVector(in, &chunk->vector) || chunk->swept > kTimestampMax) return false;
  const uint64_t shapes = in->Varint();
  if (shapes > in->left()) return false;
  chunk->shapes.clear();
  for (uint64_t i = 0; i < shapes; i++) chunk->shapes.push_back(in->Take(in->Varint()));
  if (!ReadName(in, &chunk->table)) return false;
  chunk->order = in->Little(8);
  chunk->after = in->Take(in->Varint());
  chunk->item_count = in->Varint();
  // An item takes at least its head, timestamp, sequence, length and a patch of two bytes.
  if (!in->ok() || chunk->item_count > in->left() / 12) return false;
  chunk->items = {in->at(), in->left()};
  return chunk->table.size == 0 || !chunk->shapes.empty();
}

}  // namespace

void EncodeStateChunk(const StateChunk& chunk, Bytes* out) {
  out->Byte(kStateFormat);
  out->Byte(chunk.flags);
  out->Varint(chunk.swept);
  AppendStateVector(chunk.vector, out);
  out->Varint(chunk.shapes.size());
  for (const Span& descriptor : chunk.shapes) AppendSized(descriptor, out);
  AppendSized(chunk.table, out);
  out->Little(chunk.order, 8);
  AppendSized(chunk.after, out);
  out->Varint(chunk.item_count);
  out->Append(chunk.items);
  out->Little(Crc32c(out->span()), kChecksumBytes);
}

DecodeError DecodeStateChunk(Span bytes, StateChunk* chunk) {
  if (bytes.size < 2 + kChecksumBytes) return DecodeError::kTruncated;
  const Span checked{bytes.data, bytes.size - kChecksumBytes};
  Reader tail(checked.end(), bytes.end());
  if (tail.Little(kChecksumBytes) != Crc32c(checked)) return DecodeError::kChecksum;
  Reader in(checked);
  if (in.Byte() != kStateFormat) return DecodeError::kFormat;
  chunk->flags = in.Byte();
  if ((chunk->flags & ~(kStateTableEnds | kStateEnds)) != 0) return DecodeError::kFormat;
  return ReadBody(&in, chunk) ? DecodeError::kNone : DecodeError::kMalformed;
}

void AppendStateItem(const StateItem& item, Bytes* out) {
  out->Varint(item.origin << 3 | (item.unborn ? kUnborn : 0) | (item.mention ? kMention : 0) |
              (item.goes_on ? kGoesOn : 0));
  out->Little(item.timestamp, kTimestampBytes);
  out->Varint(item.sequence);
  AppendSized(item.patch, out);
}

bool ReadStateItem(Reader* in, size_t origins, StateItem* item) {
  const uint64_t head = in->Varint();
  item->origin = head >> 3;
  item->goes_on = (head & kGoesOn) != 0;
  item->mention = (head & kMention) != 0;
  item->unborn = (head & kUnborn) != 0;
  item->timestamp = in->Little(kTimestampBytes);
  item->sequence = in->Varint();
  item->patch = in->Take(in->Varint());
  return in->ok() && item->origin < origins && item->timestamp > 0 &&
         item->timestamp <= kTimestampMax && item->sequence <= kSequenceMax &&
         (item->mention || !item->unborn);
}

void EncodeStateCursor(const StateCursor& cursor, Bytes* out) {
  out->Byte(kStateFormat);
  out->Byte(cursor.rows ? 1 : 0);
  out->Varint(cursor.parked_after);
  AppendSized(cursor.table, out);
  out->Little(cursor.order, 8);
  AppendSized(cursor.after, out);
}

bool DecodeStateCursor(Span bytes, StateCursor* cursor) {
  *cursor = {};
  if (bytes.size == 0) return true;
  Reader in(bytes);
  if (in.Byte() != kStateFormat) return false;
  const uint8_t phase = in.Byte();
  cursor->rows = phase == 1;
  cursor->parked_after = in.Varint();
  if (!ReadName(&in, &cursor->table)) return false;
  cursor->order = in.Little(8);
  cursor->after = in.Take(in.Varint());
  return in.ok() && in.AtEnd() && phase <= 1 && cursor->parked_after <= uint64_t{INT64_MAX};
}

void AppendStateVector(const std::vector<StateOrigin>& vector, Bytes* out) {
  out->Varint(vector.size());
  for (const StateOrigin& origin : vector) {
    out->Varint(origin.peer);
    out->Varint(origin.sequence);
    out->Varint(origin.timestamp);
  }
}

bool ReadStateVector(Reader* in, std::vector<StateOrigin>* vector) {
  const uint64_t count = in->Varint();
  vector->clear();
  if (!in->ok() || count > in->left() / 3) return false;
  for (uint64_t i = 0; i < count; i++) {
    StateOrigin origin;
    origin.peer = in->Varint();
    origin.sequence = in->Varint();
    origin.timestamp = in->Varint();
    if (!in->ok() || origin.peer == 0 || origin.peer > kPeerIdMax ||
        origin.sequence > kSequenceMax || origin.timestamp > kTimestampMax) {
      return false;
    }
    vector->push_back(origin);
  }
  return true;
}

}  // namespace mergelite
