#include "../value.h"

#include <cmath>
#include <initializer_list>

#include "check.h"

namespace mergelite::test {
namespace {

Value Integer(int64_t integer) {
  Value value;
  value.type = Type::kInteger;
  value.integer = integer;
  return value;
}

Value Real(double real) {
  Value value;
  value.type = Type::kReal;
  value.real = real;
  return value;
}

Value Content(Type type, Span span) {
  Value value;
  value.type = type;
  value.content = span;
  return value;
}

Value String(const char* text) { return Content(Type::kText, SpanOf(text)); }

bool SameValue(const Value& a, const Value& b) {
  if (a.type != b.type) return false;
  if (a.type == Type::kInteger) return a.integer == b.integer;
  if (a.type == Type::kReal) return memcmp(&a.real, &b.real, sizeof a.real) == 0;
  return a.type == Type::kNull || a.content == b.content;
}

void RoundTrips(const Value& value) {
  Bytes out;
  AppendValue(&out, value);
  const Exact copy(out.span());
  Reader in(copy.span());
  Value again;
  CHECK(ReadValue(&in, &again) && in.AtEnd() && SameValue(value, again));
  for (size_t size = 0; size < out.size(); size++) {
    const Exact cut(out.span(), size);
    Reader short_in(cut.span());
    CHECK(!ReadValue(&short_in, &again));
  }
}

Bytes Encoded(const Value& value) {
  Bytes out;
  AppendValue(&out, value);
  return out;
}

bool SameKey(const Value& a, const Value& b, Collation collation = Collation::kBinary) {
  Bytes left, right;
  AppendIdentity(&left, a, collation);
  AppendIdentity(&right, b, collation);
  return left.span() == right.span();
}

bool Decodes(const uint8_t* bytes, size_t size) {
  const Exact copy({bytes, size});
  Reader in(copy.span());
  Value value;
  return ReadValue(&in, &value);
}

TEST(integers_round_trip_at_every_width) {
  for (int bit = 0; bit < 63; bit++) {
    for (int64_t near = -2; near <= 2; near++) {
      RoundTrips(Integer((int64_t{1} << bit) + near));
      RoundTrips(Integer(-(int64_t{1} << bit) + near));
    }
  }
  RoundTrips(Integer(INT64_MIN));
  RoundTrips(Integer(INT64_MAX));
  Random random(5);
  for (int i = 0; i < 20000; i++) RoundTrips(Integer(static_cast<int64_t>(random.AnyWidth())));
}

TEST(reals_round_trip_bit_by_bit) {
  constexpr double kInfinity = INFINITY;
  for (double real : {0.0, -0.0, 5.0, 0.1, 1e308, 5e-324, kInfinity, -kInfinity}) {
    RoundTrips(Real(real));
  }
  CHECK(!(Encoded(Real(5.0)).span() == Encoded(Integer(5)).span()));
}

TEST(text_and_blobs_round_trip) {
  RoundTrips(Value{});
  Bytes content;
  for (int i = 0; i < 300; i++) {
    RoundTrips(Content(Type::kText, content.span()));
    RoundTrips(Content(Type::kBlob, content.span()));
    content.Byte(static_cast<uint8_t>(i));
  }
  CHECK(!SameKey(Content(Type::kText, content.span()), Content(Type::kBlob, content.span())));
}

TEST(a_value_has_one_encoding) {
  const uint8_t five_in_two_bytes[] = {2, 5, 0};
  const uint8_t zero_in_one_byte[] = {1, 0};
  const uint8_t reserved_serial[] = {10, 0, 0, 0, 0, 0, 0, 0, 0};
  const uint8_t not_a_number[] = {7, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f};
  const uint8_t five[] = {1, 5};
  CHECK(Decodes(five, sizeof five));
  CHECK(!Decodes(five_in_two_bytes, sizeof five_in_two_bytes));
  CHECK(!Decodes(zero_in_one_byte, sizeof zero_in_one_byte));
  CHECK(!Decodes(reserved_serial, sizeof reserved_serial));
  CHECK(!Decodes(not_a_number, sizeof not_a_number));
}

TEST(five_and_five_point_zero_are_one_key) {
  CHECK(SameKey(Integer(5), Real(5.0)));
  CHECK(SameKey(Integer(0), Real(-0.0)));
  CHECK(!SameKey(Integer(5), Real(5.5)));
  CHECK(SameKey(Integer(INT64_MIN), Real(-9223372036854775808.0)));
  // 2^63 as a real is above every integer, and 2^53 + 1 has no real of its own.
  CHECK(!SameKey(Integer(INT64_MAX), Real(9223372036854775808.0)));
  CHECK(!SameKey(Integer((int64_t{1} << 53) + 1), Real(9007199254740992.0)));
  CHECK(!SameKey(Real(INFINITY), Real(-INFINITY)));
}

TEST(collations_decide_which_texts_are_one_key) {
  CHECK(SameKey(String("Ab"), String("aB"), Collation::kNoCase));
  CHECK(!SameKey(String("Ab"), String("aB"), Collation::kBinary));
  CHECK(!SameKey(String("Ab"), String("aB"), Collation::kRtrim));
  CHECK(SameKey(String("a  "), String("a"), Collation::kRtrim));
  CHECK(SameKey(String("   "), String(""), Collation::kRtrim));
  CHECK(!SameKey(String(" a"), String("a"), Collation::kRtrim));
  CHECK(!SameKey(String("a "), String("a"), Collation::kNoCase));
  // SQLite folds ASCII only, and trims blanks only.
  CHECK(!SameKey(String("\xc3\x84"), String("\xc3\xa4"), Collation::kNoCase));
  CHECK(!SameKey(String("["), String("{"), Collation::kNoCase));
  CHECK(!SameKey(String("a\t"), String("a"), Collation::kRtrim));
  // A collation is a rule for text: blobs compare by their bytes.
  const Span upper = SpanOf("A "), lower = SpanOf("a");
  CHECK(!SameKey(Content(Type::kBlob, upper), Content(Type::kBlob, lower), Collation::kNoCase));
  CHECK(
      !SameKey(Content(Type::kBlob, SpanOf("a ")), Content(Type::kBlob, lower), Collation::kRtrim));
}

TEST(hashes_are_the_same_everywhere) {
  CHECK(Hash64({}) == Hash64(SpanOf("")));
  CHECK(Hash64(SpanOf("note")) != Hash64(SpanOf("Note")));
  CHECK(Hash64(SpanOf("note")) == 0x374951ff4b84dadau);
}

}  // namespace
}  // namespace mergelite::test
