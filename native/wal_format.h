// The bytes of a WAL and of the header of its index, as sqlite.org/walformat.html describes them.
#pragma once
#include "bytes.h"

namespace mergelite {

constexpr size_t kWalHeadBytes = 32, kWalFrameHeadBytes = 24, kWalIndexHeadBytes = 48;

// Two running sums over pairs of words; each frame's goes on from the frame before it.
struct WalSum {
  uint32_t first = 0, second = 0;
  bool operator==(const WalSum& other) const {
    return first == other.first && second == other.second;
  }
};

// Numbers that change when the WAL begins anew.
struct WalSalt {
  uint32_t first = 0, second = 0;
  bool operator==(const WalSalt& other) const {
    return first == other.first && second == other.second;
  }
};

// A place behind a frame, with the checksum there. Frame 0 is the beginning; it has none.
struct WalPlace {
  WalSalt salt;
  uint32_t frame = 0;
  WalSum sum;
};

struct WalHead {
  uint32_t page_size = 0;
  bool big_endian = false;  // the order of words in checksums
  WalSalt salt;
  WalSum sum;
};

// What the header of the index publishes: up to where the WAL is committed.
struct WalIndexHead {
  uint32_t change = 0;     // counts transactions
  uint32_t page_size = 0;  // 0 before the first frame
  uint32_t pages = 0;      // of the database; 0 when only its file tells
  WalPlace end;
};

struct WalFrameHead {
  uint32_t page = 0;
  uint32_t pages = 0;  // of the database, when it ends a transaction; else 0
  WalSalt salt;
  WalSum sum;
};

// `size` is a multiple of 8.
void AddToWalSum(const uint8_t* data, size_t size, bool big_endian, WalSum* sum);

// False for what is none, or was written by half.
bool ReadWalHead(Span bytes, WalHead* head);
// Of the two copies of the index's header; false while one of them is being written.
bool ReadWalIndexHead(Span first, Span second, WalIndexHead* head);
// The next frame: head and page. Whether it belongs to the chain; `sum` goes on.
bool ReadWalFrame(Span frame, const WalHead& head, WalSum* sum, WalFrameHead* out);

}  // namespace mergelite
