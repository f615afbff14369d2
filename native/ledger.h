// What a merge transaction changes in _mergelite_parked, for those who want to be told: which rows
// have come to wait or violate something, and which no longer do.
#pragma once
#include "parked.h"

namespace mergelite {

class Ledger {
 public:
  // Rows of one transaction that are followed one by one; beyond them there are only counts.
  static constexpr size_t kRowsMax = 256;

  void Begin() {
    rows_.clear();
    untold_ = 0;
  }
  // Before the first change to what is parked for a row; or after it, with the reasons that are
  // gone.
  int Touch(Connection* connection, const char* table, Span identity, uint8_t gone = 0);
  // At the end of the transaction: what is new and what is resolved.
  int Close(Connection* connection, MergeStats* stats);
  void Finalize() { reasons_.Finalize(); }

 private:
  struct Row {
    Text table;
    Bytes identity;
    uint8_t before = 0;
  };
  int ReasonsNow(Connection* connection, const Row& row, uint8_t* bits, int64_t* ids);

  std::vector<Row> rows_;
  uint64_t untold_ = 0;
  Statement reasons_;
};

}  // namespace mergelite
