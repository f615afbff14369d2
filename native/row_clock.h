// What merging must remember of one row: when it was last inserted or deleted, and which columns
// were set later than that. Row clocks join: in any order, any number of times, the result is one.
#pragma once
#include <vector>

#include "bytes.h"
#include "stamp.h"

namespace mergelite {

struct Override {
  uint32_t column = 0;  // the column's id in this file, see _mergelite_columns
  Stamp stamp;
};

struct RowClock {
  bool has_life = false;  // false: only updates of this row are known so far
  bool alive = false;
  Stamp life;
  std::vector<Override> overrides;  // ascending by column; each newer than life

  void Reset() {
    has_life = alive = false;
    life = {};
    overrides.clear();
  }
  // The stamp of a column's value: of its own override, or of the row's insert.
  const Stamp& Of(uint32_t column) const;

  // An insert or delete. At an equal stamp the later call wins: patches of one changeset come in
  // their order.
  void SetLife(const Stamp& stamp, bool is_alive, const PeerIds& peers);
  void SetColumn(uint32_t column, const Stamp& stamp, const PeerIds& peers);
  void Join(const RowClock& other, const PeerIds& peers);

  void Encode(Bytes* out) const;
  bool Decode(Span bytes);
};

}  // namespace mergelite
