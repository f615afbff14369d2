// What a connection is like while merging writes: capture is off, foreign keys are not enforced,
// and afterwards everything is as the user left it.
#pragma once
#include <vector>

#include "sqlite_api.h"

namespace mergelite {

struct Connection;
struct Table;
class Statement;

// Rows, or with `row` 0 all rows of a table, whose triggers have ended a transaction of merging:
// next time they are written without.
class Mutes {
 public:
  bool Has(int64_t table, uint64_t row);
  void Add(int64_t table, uint64_t row);
  // What was written without its triggers is in the file now, or is not.
  void Committed();
  void RolledBack();

 private:
  struct Mute {
    int64_t table;
    uint64_t row;
    bool used;
  };
  std::vector<Mute> mutes_;
};

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
  // where one fails, or ignores the row, triggers are left out.
  int Run(const Table& table, Span identity, Statement* statement);
  // A trigger has ended the transaction: all of it has to be done again.
  bool undone() const { return undone_; }

  // No trigger fires: only ours would, and they have been turned off.
  bool triggers_off() const { return triggers_off_; }
  // Of whatever table, and the connection's own.
  int HasUserTriggers(bool* has);
  // For a while within the call, where triggers must not fire or have to; then as it was.
  // Each tells whether it has changed anything.
  bool TurnTriggersOff() { return SetTriggers(false); }
  bool TurnTriggersOn() { return SetTriggers(true); }

 private:
  int StartWriting();
  int RunWithoutTriggers(Statement* statement);
  bool SetTriggers(bool on);

  Connection* connection_;
  sqlite3_int64 rowid_;
  bool many_;
  bool writing_ = false;
  bool undone_ = false;
  bool foreign_keys_off_ = false;
  bool triggers_off_ = false;
};

}  // namespace mergelite
