// SQL text under construction. Identifiers and literals enter only through Name() and Literal(),
// which quote them, so no name a user chose can become SQL.
#pragma once
#include "bytes.h"

namespace mergelite {

class Text {
 public:
  Text() = default;
  explicit Text(const char* text) { *this << text; }
  Text(Text&&) = default;
  Text& operator=(Text&&) = default;

  Text& operator<<(const char* text) {
    bytes_.Append(text, strlen(text));
    return *this;
  }
  Text& operator<<(const Text& text) {
    bytes_.Append(text.bytes_.span());
    return *this;
  }
  Text& operator<<(uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do {
      digits[--at] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    bytes_.Append(digits + at, sizeof digits - at);
    return *this;
  }
  Text& Add(Span span) {
    bytes_.Append(span);
    return *this;
  }
  Text& Name(const char* name) { return Quoted(name, '"'); }
  Text& Literal(const char* text) { return Quoted(text, '\''); }

  const char* c_str() const {
    *bytes_.Reserve(1) = 0;
    return reinterpret_cast<const char*>(bytes_.data());
  }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  Span span() const { return bytes_.span(); }
  void Clear() { bytes_.Clear(); }
  Text Copy() const {
    Text copy;
    return static_cast<Text&&>(copy << *this);
  }

 private:
  Text& Quoted(const char* text, char quote) {
    bytes_.Byte(static_cast<uint8_t>(quote));
    for (; *text != 0; text++) {
      if (*text == quote) bytes_.Byte(static_cast<uint8_t>(quote));
      bytes_.Byte(static_cast<uint8_t>(*text));
    }
    bytes_.Byte(static_cast<uint8_t>(quote));
    return *this;
  }

  mutable Bytes bytes_;
};

// ASCII case folding, the rule by which SQLite compares names.
constexpr char Fold(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
inline int CompareNames(const char* a, const char* b) {
  for (; *a != 0 && Fold(*a) == Fold(*b); a++, b++) {
  }
  return static_cast<unsigned char>(Fold(*a)) - static_cast<unsigned char>(Fold(*b));
}
inline bool SameName(const char* a, const char* b) {
  for (; *a != 0 && Fold(*a) == Fold(*b); a++, b++) {
  }
  return Fold(*a) == Fold(*b);
}
// Below, at or above 0: the same order on every platform.
inline int CompareNames(Span a, Span b) {
  const size_t size = a.size < b.size ? a.size : b.size;
  for (size_t i = 0; i < size; i++) {
    const auto left = static_cast<uint8_t>(Fold(static_cast<char>(a.data[i])));
    const auto right = static_cast<uint8_t>(Fold(static_cast<char>(b.data[i])));
    if (left != right) return left < right ? -1 : 1;
  }
  return a.size == b.size ? 0 : a.size < b.size ? -1 : 1;
}

}  // namespace mergelite
