#include "../codec.h"

#include <initializer_list>

#include "../crc32c.h"
#include "../hlc.h"
#include "../stamp.h"
#include "check.h"

namespace mergelite::test {
namespace {

Shape MakeShape(size_t keys, size_t columns) {
  Shape shape;
  shape.table << "note";
  for (size_t i = 0; i < keys; i++) {
    KeyColumn key;
    key.name << "key" << uint64_t{i};
    key.collation = static_cast<Collation>(i % 3);
    shape.keys.push_back(static_cast<KeyColumn&&>(key));
  }
  for (size_t i = 0; i < columns; i++) {
    Text name("column");
    name << uint64_t{i};
    shape.columns.push_back(static_cast<Text&&>(name));
  }
  return shape;
}

void AppendRandomValue(Random* random, bool may_be_null, Bytes* out) {
  Bytes content;
  for (uint64_t size = random->Below(20); size > 0; size--) {
    content.Byte(static_cast<uint8_t>(random->Next()));
  }
  switch (random->Below(may_be_null ? 5 : 4)) {
    case 0:
      return AppendInteger(out, static_cast<int64_t>(random->AnyWidth()));
    case 1:
      return AppendReal(out, static_cast<double>(random->Below(1000)) / 8);
    case 2:
      return AppendContent(out, Type::kText, content.span());
    case 3:
      return AppendContent(out, Type::kBlob, content.span());
    default:
      return AppendNull(out);
  }
}

void AppendRandomPatch(Random* random, size_t index, const Shape& shape, Bytes* out) {
  const auto operation = static_cast<Operation>(1 + random->Below(3));
  out->Varint(PatchHead(index, operation));
  for (size_t i = 0; i < shape.keys.size(); i++) AppendRandomValue(random, false, out);
  if (operation == Operation::kDelete) return;
  std::vector<bool> sets(shape.columns.size(), operation == Operation::kInsert);
  if (operation == Operation::kUpdate) {
    for (size_t i = 0; i < sets.size(); i += 8) {
      uint8_t bits = 0;
      for (size_t column = i; column < sets.size() && column < i + 8; column++) {
        sets[column] = random->Below(2) == 0;
        if (sets[column]) bits = static_cast<uint8_t>(bits | 1 << (column - i));
      }
      out->Byte(bits);
    }
  }
  for (size_t i = 0; i < sets.size(); i++) {
    if (sets[i]) AppendRandomValue(random, true, out);
  }
}

struct Sample {
  Bytes payload;
  Bytes patches;
  std::vector<size_t> ends;  // where each patch ends within patches
};

Sample RandomSample(Random* random, const std::vector<const Shape*>& shapes) {
  Sample sample;
  for (uint64_t count = random->Below(8); count > 0; count--) {
    const size_t index = random->Below(shapes.size());
    AppendRandomPatch(random, index, *shapes[index], &sample.patches);
    sample.ends.push_back(sample.patches.size());
  }
  std::vector<uint64_t> hashes(shapes.size());
  for (uint64_t& hash : hashes) hash = random->Next();
  const uint8_t flags = static_cast<uint8_t>(random->Below(2));
  EncodePayload({flags, hashes.data(), hashes.size(), sample.ends.size(), sample.patches.span()},
                &sample.payload);
  return sample;
}

// Reads to the end or to the first thing that makes no sense; patches read, or -1.
int ReadAll(Span bytes, const std::vector<const Shape*>& shapes) {
  Payload payload;
  if (DecodePayload(bytes, &payload) != DecodeError::kNone) return -1;
  if (payload.shape_hashes.size() > shapes.size()) return -1;
  PatchReader reader(payload, shapes.data());
  Patch patch;
  int count = 0;
  while (reader.Next(&patch)) count++;
  return reader.ok() ? count : -1;
}

void PutChecksum(Bytes* payload) {
  payload->Truncate(payload->size() - 4);
  payload->Little(Crc32c(payload->span()), 4);
}

TEST(payloads_round_trip) {
  const Shape a = MakeShape(1, 3), b = MakeShape(2, 17), c = MakeShape(3, 8);
  const std::vector<const Shape*> shapes = {&a, &b, &c};
  Random random(12);
  for (int i = 0; i < 3000; i++) {
    const Sample sample = RandomSample(&random, shapes);
    const Exact copy(sample.payload.span());
    Payload payload;
    CHECK(DecodePayload(copy.span(), &payload) == DecodeError::kNone);
    CHECK(payload.patch_count == sample.ends.size() && payload.patches == sample.patches.span());
    // The number of patches is what the bytes hold, or an update of no columns at all was drawn.
    CHECK(ReadAll(copy.span(), shapes) == static_cast<int>(sample.ends.size()));
  }
}

TEST(patches_are_handed_out_with_their_bytes) {
  const Shape shape = MakeShape(2, 9);
  const std::vector<const Shape*> shapes = {&shape};
  Random random(13);
  for (int i = 0; i < 1000; i++) {
    const Sample sample = RandomSample(&random, shapes);
    Payload payload;
    CHECK(DecodePayload(sample.payload.span(), &payload) == DecodeError::kNone);
    PatchReader reader(payload, shapes.data());
    Patch patch;
    size_t begin = 0;
    for (size_t end : sample.ends) {
      CHECK(reader.Next(&patch));
      CHECK((patch.bytes == Span{sample.patches.data() + begin, end - begin}));
      CHECK(patch.shape == &shape && patch.key[0].type != Type::kNull);
      begin = end;
    }
    CHECK(!reader.Next(&patch) && reader.ok());
  }
}

TEST(every_truncation_of_a_payload_is_refused) {
  const Shape a = MakeShape(1, 3), b = MakeShape(2, 17);
  const std::vector<const Shape*> shapes = {&a, &b};
  Random random(14);
  for (int i = 0; i < 300; i++) {
    const Sample sample = RandomSample(&random, shapes);
    for (size_t size = 0; size < sample.payload.size(); size++) {
      Payload payload;
      const Exact cut(sample.payload.span(), size);
      CHECK(DecodePayload(cut.span(), &payload) != DecodeError::kNone);
      // And so is one with a checksum that fits what is left.
      if (size < 5) continue;
      Bytes with_checksum;
      with_checksum.Append(cut.span());
      PutChecksum(&with_checksum);
      CHECK(ReadAll(Exact(with_checksum.span()).span(), shapes) == -1);
    }
  }
}

TEST(every_flipped_bit_of_a_payload_is_noticed) {
  const Shape shape = MakeShape(1, 3);
  Random random(15);
  const Sample sample = RandomSample(&random, {&shape});
  for (size_t bit = 0; bit < sample.payload.size() * 8; bit++) {
    Bytes damaged;
    damaged.Append(sample.payload.span());
    damaged.data()[bit / 8] = static_cast<uint8_t>(damaged.data()[bit / 8] ^ 1 << (bit % 8));
    Payload payload;
    CHECK(DecodePayload(damaged.span(), &payload) == DecodeError::kChecksum);
  }
}

TEST(damage_with_a_right_checksum_is_safe_to_read) {
  const Shape a = MakeShape(1, 3), b = MakeShape(2, 17);
  const std::vector<const Shape*> shapes = {&a, &b};
  Random random(16);
  for (int i = 0; i < 20000; i++) {
    Sample sample = RandomSample(&random, shapes);
    for (uint64_t count = 1 + random.Below(3); count > 0; count--) {
      const size_t at = random.Below(sample.payload.size() - 4);
      sample.payload.data()[at] = static_cast<uint8_t>(random.Next());
    }
    PutChecksum(&sample.payload);
    (void)ReadAll(Exact(sample.payload.span()).span(), shapes);
  }
}

TEST(unknown_formats_flags_and_counts_are_refused) {
  const uint64_t hash = 1;
  Bytes payload;
  EncodePayload({kFlagContinues, &hash, 1, 0, {}}, &payload);
  Payload decoded;
  CHECK(DecodePayload(payload.span(), &decoded) == DecodeError::kNone && decoded.continues());
  payload.data()[0] = kPayloadFormat + 1;
  PutChecksum(&payload);
  CHECK(DecodePayload(payload.span(), &decoded) == DecodeError::kFormat);
  payload.data()[0] = kPayloadFormat;
  payload.data()[1] = kFlagsKnown + 1;
  PutChecksum(&payload);
  CHECK(DecodePayload(payload.span(), &decoded) == DecodeError::kFormat);
  Bytes empty;
  EncodePayload({0, &hash, 1, UINT64_MAX, {}}, &empty);
  CHECK(DecodePayload(empty.span(), &decoded) == DecodeError::kMalformed);
}

TEST(shapes_round_trip_and_refuse_every_truncation) {
  for (size_t columns : {0, 1, 8, 40}) {
    Bytes descriptor;
    EncodeShape(MakeShape(1 + columns % 3, columns), &descriptor);
    const auto shape = DecodeShape(Exact(descriptor.span()).span());
    CHECK(shape != nullptr && shape->columns.size() == columns);
    CHECK(shape->hash == Hash64(descriptor.span()));
    Bytes again;
    EncodeShape(*shape, &again);
    CHECK(again.span() == descriptor.span());
    for (size_t size = 0; size < descriptor.size(); size++) {
      CHECK(DecodeShape(Exact(descriptor.span(), size).span()) == nullptr);
    }
    descriptor.Byte(0);
    CHECK(DecodeShape(Exact(descriptor.span()).span()) == nullptr);
  }
}

TEST(a_shape_without_a_key_is_refused) {
  Bytes descriptor;
  EncodeShape(MakeShape(0, 2), &descriptor);
  CHECK(DecodeShape(descriptor.span()) == nullptr);
}

TEST(records_round_trip_and_refuse_every_truncation) {
  Random random(17);
  for (int i = 0; i < 2000; i++) {
    Bytes payload, out;
    for (uint64_t size = random.Below(40); size > 0; size--) payload.Byte(9);
    const Record record{1 + random.Below(1u << 30), 1 + (random.Next() >> 25),
                        1 + (random.Next() >> 12), payload.span()};
    AppendRecord(record, &out);
    const Exact copy(out.span());
    Reader in(copy.span());
    Record again;
    CHECK(ReadRecord(&in, &again) && in.AtEnd());
    CHECK(again.origin == record.origin && again.sequence == record.sequence);
    CHECK(again.timestamp == record.timestamp && again.payload == payload.span());
    for (size_t size = 0; size < out.size(); size++) {
      const Exact cut(out.span(), size);
      Reader short_in(cut.span());
      CHECK(!ReadRecord(&short_in, &again));
    }
  }
}

TEST(records_outside_their_limits_are_refused) {
  const uint64_t peer_id_max = (uint64_t{1} << 53) - 1;
  const Record outside[] = {{0, 1, 1, {}}, {peer_id_max + 1, 1, 1, {}},
                            {1, 0, 1, {}}, {1, kSequenceMax + 1, 1, {}},
                            {1, 1, 0, {}}, {1, 1, kTimestampMax + 1, {}}};
  Record again;
  for (const Record& record : outside) {
    Bytes out;
    AppendRecord(record, &out);
    Reader in(out.span());
    CHECK(!ReadRecord(&in, &again));
  }
  Bytes out;
  AppendRecord({peer_id_max, kSequenceMax, kTimestampMax, {}}, &out);
  Reader in(out.span());
  CHECK(ReadRecord(&in, &again));
}

}  // namespace
}  // namespace mergelite::test
