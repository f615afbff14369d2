// What a connection is like while merging writes: capture is off, foreign keys are not enforced,
// and afterwards everything is as the user left it.
#pragma once
#include "sqlite_api.h"

namespace mergelite {

struct Connection;
struct Table;
class Statement;

class MergeScope {
 public:
  // `many`: so much will be written that it pays to turn triggers off where only ours would fire.
  MergeScope(Connection* connection, bool many);
  ~MergeScope();
  MergeScope(const MergeScope&) = delete;
  MergeScope& operator=(const MergeScope&) = delete;

  // Before the first row is written. What merging only reads must not cost the user's statements
  // their plans.
  int BeforeWriting() { return writing_ ? SQLITE_OK : StartWriting(); }

  // Writes one row of a table. A trigger of the user's has no say in whether a merged row is shown:
  // where one raises, or ignores the row, triggers are left out.
  int Run(const Table& table, Statement* statement);

  // For a while within the call, where triggers must not fire or have to; then as it was.
  // Each tells whether it has changed anything.
  bool TurnTriggersOff() { return SetTriggers(false); }
  bool TurnTriggersOn() { return SetTriggers(true); }

 private:
  int StartWriting();
  int MayTurnTriggersOff(bool* may);
  bool SetTriggers(bool on);

  Connection* connection_;
  sqlite3_int64 rowid_;
  bool many_;
  bool writing_ = false;
  bool foreign_keys_off_ = false;
  bool triggers_off_ = false;
};

}  // namespace mergelite
