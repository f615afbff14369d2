// The smallest test runner that will do: TEST(name) { CHECK(...); }. The executable takes the names
// of the tests to run and ends at the first CHECK that does not hold.
#pragma once
#include <cstdio>
#include <cstdlib>

#include "exact.h"

namespace mergelite::test {

using Function = void (*)();

struct Case {
  Case(const char* case_name, Function case_body);

  const char* name;
  Function body;
  Case* next;
};

#define TEST(name)                                              \
  static void name();                                           \
  static const mergelite::test::Case name##_case(#name, &name); \
  static void name()

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                        \
    }                                                                 \
  } while (false)

// xorshift64*: the same numbers on every platform.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1du;
  }
  uint64_t Below(uint64_t limit) { return (Next() >> 33) % limit; }
  // Small numbers as often as large ones.
  uint64_t AnyWidth() { return Next() >> Below(64); }

 private:
  uint64_t state_;
};

inline Span SpanOf(const char* text) {
  return {reinterpret_cast<const uint8_t*>(text), strlen(text)};
}

}  // namespace mergelite::test
