#include "lz4.h"

namespace mergelite {
namespace {

// The format's own rules: a match has four bytes or more, none begins in the last twelve bytes, and
// the last five are literals.
constexpr size_t kMatchMin = 4;
constexpr size_t kMatchStartTail = 12;
constexpr size_t kLiteralTail = 5;

constexpr int kHashBits = 12;
// After so many positions without a match the search takes longer steps (2 to this power).
constexpr int kSkipBits = 6;

uint32_t Load32(const uint8_t* at) {
  uint32_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

uint64_t Load64(const uint8_t* at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return value;
}

uint32_t Hash(uint32_t sequence) { return (sequence * 2654435761u) >> (32 - kHashBits); }

size_t CommonPrefix(const uint8_t* a, const uint8_t* b, size_t limit) {
  size_t length = 0;
  while (length + 8 <= limit && Load64(a + length) == Load64(b + length)) length += 8;
  while (length < limit && a[length] == b[length]) length++;
  return length;
}

uint8_t* WriteLength(uint8_t* to, size_t rest) {
  for (; rest >= 255; rest -= 255) *to++ = 255;
  *to++ = static_cast<uint8_t>(rest);
  return to;
}

// One sequence: literals, then a match; without one (`match` 0) the last of the block.
uint8_t* WriteSequence(uint8_t* to, Span literals, size_t distance, size_t match) {
  const size_t extra = match == 0 ? 0 : match - kMatchMin;
  const size_t high = literals.size < 15 ? literals.size : 15;
  *to++ = static_cast<uint8_t>(high << 4 | (extra < 15 ? extra : 15));
  if (high == 15) to = WriteLength(to, literals.size - 15);
  if (literals.size > 0) memcpy(to, literals.data, literals.size);
  to += literals.size;
  if (match == 0) return to;
  *to++ = static_cast<uint8_t>(distance);
  *to++ = static_cast<uint8_t>(distance >> 8);
  return extra >= 15 ? WriteLength(to, extra - 15) : to;
}

// The rest of a length that did not fit into its four bits.
bool ReadLength(Reader* in, size_t* length) {
  uint8_t byte = 255;
  while (byte == 255) {
    byte = in->Byte();
    if (!in->ok()) return false;
    *length += byte;
  }
  return true;
}

// Most copies are shorter than this. To copy always as much costs less than to ask how much.
constexpr size_t kCopyBytes = 16;

// `from` and `to` do not overlap; behind both there are at least `room` bytes.
void CopyShort(uint8_t* to, const uint8_t* from, size_t length, size_t room) {
  if (length <= kCopyBytes && room >= kCopyBytes) {
    memcpy(to, from, kCopyBytes);
  } else if (length > 0) {
    memcpy(to, from, length);
  }
}

// Source and target overlap when the match repeats what it has itself just written. The page goes
// on for `room` bytes, and what is written there too soon is written again.
void CopyMatch(uint8_t* to, size_t distance, size_t length, size_t room) {
  const uint8_t* from = to - distance;
  // What repeats after so many bytes does so after twice as many.
  for (; distance < kCopyBytes && distance < length; distance *= 2) {
    memcpy(to, from, distance);
    to += distance;
    length -= distance;
    room -= distance;
  }
  for (; length > kCopyBytes; length -= kCopyBytes, room -= kCopyBytes) {
    memcpy(to, from, kCopyBytes);
    to += kCopyBytes;
    from += kCopyBytes;
  }
  CopyShort(to, from, length, distance >= kCopyBytes ? room : 0);
}

// Most sequences are short and far from both ends: what they copy too much is within the block and
// the page, and each is known to be whole and not the last. Stops before one that is not like that.
// Returns the bytes written behind `done`.
size_t DecompressShort(Reader* in, uint8_t* out, size_t done, size_t size) {
  constexpr size_t kLiteralsMax = 14, kMatchMax = 14 + kMatchMin, kDistanceMin = 8;
  constexpr size_t kBlockBytes = 1 + kCopyBytes + 2, kPageBytes = kCopyBytes + kMatchMax;
  const uint8_t* at = in->at();
  const uint8_t* const end = at + in->left();
  size_t to = done;
  while (static_cast<size_t>(end - at) >= kBlockBytes && size - to >= kPageBytes) {
    const size_t literals = *at >> 4, match = *at & 15;
    if (literals > kLiteralsMax || match + kMatchMin > kMatchMax) break;
    const size_t distance = at[1 + literals] | static_cast<size_t>(at[2 + literals]) << 8;
    if (distance < kDistanceMin || distance > to + literals) break;
    memcpy(out + to, at + 1, kCopyBytes);
    to += literals;
    const uint8_t* from = out + to - distance;
    memcpy(out + to, from, 8);
    memcpy(out + to + 8, from + 8, 8);
    memcpy(out + to + 16, from + 16, kMatchMax - 16);
    to += match + kMatchMin;
    at += 3 + literals;
  }
  in->Take(static_cast<size_t>(at - in->at()));
  return to - done;
}

}  // namespace

size_t Lz4Compress(Span input, uint8_t* out) {
  const uint8_t* const base = input.data;
  uint8_t* to = out;
  size_t written = 0;  // of the input
  if (input.size > kMatchStartTail) {
    uint16_t seen[1 << kHashBits] = {};
    const size_t last = input.size - kMatchStartTail;
    size_t misses = 0;
    for (size_t at = 1; at <= last;) {
      const uint32_t sequence = Load32(base + at);
      uint16_t* place = &seen[Hash(sequence)];
      size_t before = *place;
      *place = static_cast<uint16_t>(at);
      if (Load32(base + before) != sequence) {
        at += 1 + (misses++ >> kSkipBits);
        continue;
      }
      misses = 0;
      while (at > written && before > 0 && base[at - 1] == base[before - 1]) at--, before--;
      const size_t room = input.size - kLiteralTail - at - kMatchMin;
      const size_t length =
          kMatchMin + CommonPrefix(base + at + kMatchMin, base + before + kMatchMin, room);
      to = WriteSequence(to, {base + written, at - written}, at - before, length);
      written = at += length;
      if (at <= last) seen[Hash(Load32(base + at - 2))] = static_cast<uint16_t>(at - 2);
    }
  }
  to = WriteSequence(to, {base + written, input.size - written}, 0, 0);
  return static_cast<size_t>(to - out);
}

bool Lz4Decompress(Span block, uint8_t* out, size_t size) {
  Reader in(block);
  size_t done = 0;
  while (!in.AtEnd()) {
    done += DecompressShort(&in, out, done, size);
    const uint8_t token = in.Byte();
    size_t length = token >> 4;
    if (length == 15 && !ReadLength(&in, &length)) return false;
    if (length > size - done) return false;
    const Span literals = in.Take(length);
    if (!in.ok()) return false;
    const size_t room = in.left() < size - done - length ? in.left() : size - done - length;
    CopyShort(out + done, literals.data, length, length + room);
    done += length;
    // Only the last sequence has no match.
    if (in.AtEnd()) return done == size;
    const size_t distance = in.Little(2);
    if (!in.ok() || distance == 0 || distance > done) return false;
    length = token & 15;
    if (length == 15 && !ReadLength(&in, &length)) return false;
    length += kMatchMin;
    if (length > size - done) return false;
    CopyMatch(out + done, distance, length, size - done);
    done += length;
  }
  return false;
}

}  // namespace mergelite
