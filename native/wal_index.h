// The formats of a WAL and of its index, as sqlite.org/walformat.html gives them: enough to append
// committed frames so that every connection sees them as those of an ordinary writer.
#pragma once
#include "wal_format.h"

namespace mergelite {

constexpr size_t kWalIndexZoneBytes = 32768;

// What one of the two equal headers of a WAL index says, in its memory layout.
struct WalIndexHeader {
  uint32_t version;
  uint32_t unused;
  uint32_t changes;  // counts commits
  uint8_t is_init;
  uint8_t big_endian;  // checksums in the WAL are sums of big-endian words
  uint16_t page_size;  // 65536 as 1
  uint32_t frames;     // committed ones
  uint32_t pages;      // of the database
  uint32_t frame_sum[2];
  uint8_t salts[8];
  uint32_t sum[2];
};
static_assert(sizeof(WalIndexHeader) == kWalIndexHeadBytes, "the layout is SQLite's");

// False unless both copies agree and are what a writer leaves. `zone` is the first of the index.
bool ReadWalIndexHeader(const uint8_t* zone, WalIndexHeader* header);
// Fills in what follows from the rest. Readers see the new state, whole, when `Publish` is done;
// the host's memory barrier belongs between its two steps.
void SealWalIndexHeader(WalIndexHeader* header);

// Which zone of the index has a frame, counted from 1.
uint32_t WalIndexZoneOf(uint32_t frame);
// Notes that a frame holds a page. False for a table that is full or damaged.
bool AddToWalIndex(uint8_t* zone, uint32_t frame, uint32_t page);

// Writes the header of an empty WAL with the salts of `header`, and starts its running checksum.
void BeginWal(WalIndexHeader* header, size_t page_size, uint32_t generation,
              uint8_t out[kWalHeadBytes]);
// Writes the head of the next frame: `commit` is the size of the database after the transaction in
// its last frame, else 0. Goes on with the header's running checksum.
void PutWalFrameHead(WalIndexHeader* header, uint32_t page, uint32_t commit, Span content,
                     uint8_t out[kWalFrameHeadBytes]);

}  // namespace mergelite
