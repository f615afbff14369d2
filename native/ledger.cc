#include "ledger.h"

#include "connection.h"

namespace mergelite {

int Ledger::ReasonsNow(Connection* connection, const Row& row, uint8_t* bits, int64_t* ids) {
  int rc = connection->Prepare(&reasons_,
                               "SELECT reason, min(id) FROM main._mergelite_parked WHERE "
                               "table_name = ?1 AND key = ?2 GROUP BY reason");
  if (rc != SQLITE_OK) return rc;
  reasons_.String(1, row.table.span());
  reasons_.Bytes(2, row.identity.span());
  while ((rc = reasons_.Step()) == SQLITE_ROW) {
    const Reason reason = ReasonOf(reasons_.ColumnText(0));
    *bits |= BitOf(reason);
    if (ids != nullptr) ids[static_cast<size_t>(reason)] = reasons_.ColumnInteger(1);
  }
  return connection->Check(rc);
}

int Ledger::Touch(Connection* connection, const char* table, Span identity, uint8_t gone) {
  for (const Row& row : rows_) {
    if (row.identity.span() == identity && SameName(row.table.c_str(), table)) return SQLITE_OK;
  }
  if (rows_.size() == kRowsMax) return untold_++, SQLITE_OK;
  Row row;
  row.table << table;
  row.identity.Append(identity);
  row.before = gone;
  rows_.push_back(static_cast<Row&&>(row));
  return ReasonsNow(connection, rows_.back(), &rows_.back().before, nullptr);
}

int Ledger::Close(Connection* connection, MergeStats* stats) {
  stats->untold = untold_;
  for (Row& row : rows_) {
    uint8_t now = 0;
    int64_t ids[kReasons] = {};
    const int rc = ReasonsNow(connection, row, &now, ids);
    if (rc != SQLITE_OK) return rc;
    for (size_t i = 0; i < kReasons; i++) {
      const auto bit = static_cast<uint8_t>(1u << i);
      if ((now & ~row.before & bit) != 0) stats->conflicts.push_back(ids[i]);
      if ((row.before & ~now & bit) == 0) continue;
      MergeStats::Resolved resolved;
      resolved.table = row.table.Copy();
      resolved.identity.Append(row.identity.span());
      resolved.reason = kReasonNames[i];
      stats->resolved.push_back(static_cast<MergeStats::Resolved&&>(resolved));
    }
  }
  rows_.clear();
  return SQLITE_OK;
}

}  // namespace mergelite
