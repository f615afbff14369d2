// Growable byte buffers and a reader that checks every length: the only two ways in which the pure
// part of the library touches memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace mergelite {

struct Span {
  const uint8_t* data = nullptr;
  size_t size = 0;

  const uint8_t* end() const { return data + size; }
  bool operator==(const Span& other) const {
    return size == other.size && (size == 0 || memcmp(data, other.data, size) == 0);
  }
  bool operator<(const Span& other) const {
    const size_t common = size < other.size ? size : other.size;
    const int order = common == 0 ? 0 : memcmp(data, other.data, common);
    return order != 0 ? order < 0 : size < other.size;
  }
};

// A LEB128 varint of 64 bits takes at most ten bytes.
constexpr size_t kVarintBytesMax = 10;

class Bytes {
 public:
  Bytes() = default;
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  Bytes(Bytes&& other) noexcept { Swap(other); }
  Bytes& operator=(Bytes&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~Bytes() { free(data_); }

  const uint8_t* data() const { return data_; }
  uint8_t* data() { return data_; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  bool empty() const { return size_ == 0; }
  Span span() const { return {data_, size_}; }

  // Room for `count` more bytes; what is written there counts only after Advance().
  uint8_t* Reserve(size_t count) {
    if (__builtin_expect(size_ + count > capacity_, 0)) Grow(size_ + count);
    return data_ + size_;
  }
  void Advance(size_t count) { size_ += count; }
  // Room for `capacity` bytes in all, and no more; Reserve() doubles.
  void ReserveAll(size_t capacity) {
    if (capacity > capacity_) Resize(capacity);
  }
  void Truncate(size_t size) {
    if (size < size_) size_ = size;
  }
  void Clear() { size_ = 0; }
  // Gives memory back when a rare large transaction had made the buffer grow.
  void ClearAndTrim(size_t keep) {
    size_ = 0;
    if (capacity_ > keep) {
      free(data_);
      data_ = nullptr;
      capacity_ = 0;
    }
  }
  void Swap(Bytes& other) {
    uint8_t* data = data_;
    size_t size = size_, capacity = capacity_;
    data_ = other.data_, size_ = other.size_, capacity_ = other.capacity_;
    other.data_ = data, other.size_ = size, other.capacity_ = capacity;
  }

  void Byte(uint8_t byte) {
    *Reserve(1) = byte;
    size_++;
  }
  void Append(const void* source, size_t count) {
    if (count == 0) return;
    memcpy(Reserve(count), source, count);
    size_ += count;
  }
  void Append(Span span) { Append(span.data, span.size); }
  void Varint(uint64_t value) {
    uint8_t* out = Reserve(kVarintBytesMax);
    size_t count = 0;
    while (value >= 0x80) {
      out[count++] = static_cast<uint8_t>(value) | 0x80;
      value >>= 7;
    }
    out[count++] = static_cast<uint8_t>(value);
    size_ += count;
  }
  // The low `count` bytes of `value`, little-endian.
  void Little(uint64_t value, size_t count) {
    uint8_t* out = Reserve(8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(out, &value, sizeof value);
#else
    for (size_t i = 0; i < count; i++) out[i] = static_cast<uint8_t>(value >> (8 * i));
#endif
    size_ += count;
  }

 private:
  void Grow(size_t wanted) {
    size_t capacity = capacity_ < 256 ? 256 : capacity_ * 2;
    Resize(capacity < wanted ? wanted : capacity);
  }
  void Resize(size_t capacity) {
    auto* data = static_cast<uint8_t*>(realloc(data_, capacity));
    if (data == nullptr) abort();
    data_ = data;
    capacity_ = capacity;
  }

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// Reads forward over foreign bytes. Every read fails for good once one went past the end, so a
// decoder may read several fields and ask ok() once.
class Reader {
 public:
  explicit Reader(Span span) : at_(span.data), end_(span.end()) {}
  Reader(const uint8_t* begin, const uint8_t* end) : at_(begin), end_(end) {}

  bool ok() const { return ok_; }
  bool AtEnd() const { return at_ == end_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  const uint8_t* at() const { return at_; }
  void Fail() {
    ok_ = false;
    at_ = end_;
  }

  uint8_t Byte() {
    if (at_ == end_) return Fail(), 0;
    return *at_++;
  }
  // Shortest form only: one number has one encoding, so equal keys are equal bytes.
  uint64_t Varint() {
    // Nearly all fit into one byte.
    if (__builtin_expect(at_ != end_ && *at_ < 0x80, 1)) return *at_++;
    return LongVarint();
  }
  uint64_t Little(size_t count) {
    if (left() < count) return Fail(), 0;
    uint64_t value = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (left() >= sizeof value && count > 0) {
      memcpy(&value, at_, sizeof value);
      at_ += count;
      return value & ~uint64_t{0} >> (64 - 8 * count);
    }
#endif
    for (size_t i = 0; i < count; i++) value |= static_cast<uint64_t>(at_[i]) << (8 * i);
    at_ += count;
    return value;
  }
  Span Take(uint64_t count) {
    if (left() < count) return Fail(), Span{};
    const Span span{at_, static_cast<size_t>(count)};
    at_ += count;
    return span;
  }

 private:
  uint64_t LongVarint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
      if (at_ == end_) break;
      const uint8_t byte = *at_++;
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) {
        if (byte == 0 && shift > 0) break;
        return value;
      }
    }
    Fail();
    return 0;
  }

  const uint8_t* at_;
  const uint8_t* end_;
  bool ok_ = true;
};

}  // namespace mergelite
