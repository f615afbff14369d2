// UUIDs as texts, the way most are written, in 16 bytes: for what memory holds of rows.
#pragma once
#include "bytes.h"

namespace mergelite {

constexpr size_t kUuidBytes = 16;
// The encoded value: its serial type, then 36 characters.
constexpr size_t kUuidSpelledBytes = 37;

// Packs an encoded value. False when it is anything but a text of 32 lower-case digits in groups of
// 8, 4, 4, 4 and 12: only that comes back as it was. Packed ones have the order of the texts.
bool PackUuid(Span value, uint8_t* packed);
void SpellUuid(const uint8_t* packed, uint8_t* value);

}  // namespace mergelite
