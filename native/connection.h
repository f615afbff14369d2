// One database connection that has the extension: everything the library keeps for it, and owns.
#pragma once
#include <memory>
#include <vector>

#include "capture.h"
#include "catalog.h"
#include "checkpoint.h"
#include "clock_cache.h"
#include "log.h"
#include "refused.h"
#include "sqlite_api.h"

namespace mergelite {

struct MergeState;
struct Starting;

// What went wrong, for people and for switch statements. `code` is one of docs/errors.md.
struct Error {
  const char* code = "";
  Text message;
  Text hint;

  void Clear() {
    code = "";
    message.Clear();
    hint.Clear();
  }
};

struct Counters {
  uint64_t local_commits = 0;
  uint64_t local_patches = 0;
  uint64_t withheld_tries = 0;
};

struct Connection {
  const Api* api = nullptr;
  sqlite3* db = nullptr;
  int handle = 0;
  bool finalized = false;
  // Calls of the addon under way: the statements that run are ours.
  int calls = 0;
  bool utf16 = false;
  // Merging writes rows that need no capture; `merging` is also what mergelite_merging() tells.
  bool merging = false;
  // A statement that may change the schema was compiled, and triggers were not looked at since.
  bool schema_touched = false;
  // Companions come and go without replication beginning or ending; see CompanionsAside.
  bool companions_aside = false;
  // A step of a migration is under way; see step.h. What it renames in tables that it makes anew.
  bool migrating = false;
  struct DeclaredRename {
    Text table, from, to;
  };
  std::vector<DeclaredRename> declared_renames;
  std::vector<int64_t> step_tables;  // ids of the tables whose companions it has aside
  // temp._mergelite_history tells how old the rows are whose replication begins.
  bool has_history = false;
  int64_t fixed_clock_ms = 0;
  // Not 0: chance follows from it, see Randomness.
  uint64_t seed = 0;

  Error error;
  Catalog catalog;
  Log log;
  Refusals refusals;
  Capture capture;
  std::unique_ptr<MergeState> merge;
  Checkpoints checkpoints;
  Starting* starting = nullptr;  // while the replication of several tables starts
  Counters counters;

  // Rung in xCommit when the log grew. Called on the connection's own thread.
  void (*bell)(void* context) = nullptr;
  void* bell_context = nullptr;
  // While the file is shipped: told of every commit and the frames of the WAL then; checkpoints are
  // the shipper's. Whether one has to be made before the commit returns.
  bool (*shipping)(void* context, int frames) = nullptr;
  void* shipping_context = nullptr;

  Connection();
  ~Connection();

  int64_t NowMs() const;
  // 64 bits by chance: SQLite's, or the next number of the seed a simulation has set.
  uint64_t Randomness();
  bool InTransaction() const { return api->get_autocommit(db) == 0; }
  int Execute(const char* sql) { return Check(api->exec(db, sql, nullptr, nullptr, nullptr)); }
  // Prepares unless that was done before.
  int Prepare(Statement* statement, const char* sql) {
    if (*statement) return SQLITE_OK;
    return Check(statement->Prepare(api, db, sql));
  }
  // Remembers SQLite's own message of a failure; passes `rc` through.
  int Check(int rc);
  // Records an error of ours and returns SQLITE_ERROR.
  int Fail(const char* code, const char* message, const char* hint = "");
  int Fail(const char* code, const Text& message, const char* hint = "") {
    return Fail(code, message.c_str(), hint);
  }
  // CHECK constraints are the user's. Turning them on again fails only when there is no memory to
  // compile six words; then it is tried until there is some.
  int IgnoreChecks() { return Execute("PRAGMA ignore_check_constraints = ON"); }
  void EnforceChecks();
  // Ends what this library began. SQLite may have done so itself when a statement failed.
  void Rollback() {
    if (InTransaction()) api->exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  // Finalizes every statement, so that sqlite3_close() finds none.
  void Finalize();
};

// Connections by handle, for the addon. A handle of a closed connection finds nothing.
int RegisterConnection(Connection* connection);
void UnregisterConnection(int handle);
Connection* FindConnection(int handle);

// While it lives, schema changes are ours: they leave no trigger stale.
class OwnSchemaChange {
 public:
  explicit OwnSchemaChange(Connection* connection)
      : connection_(connection), touched_(connection->schema_touched) {}
  OwnSchemaChange(const OwnSchemaChange&) = delete;
  OwnSchemaChange& operator=(const OwnSchemaChange&) = delete;
  ~OwnSchemaChange() { connection_->schema_touched = touched_; }

 private:
  Connection* connection_;
  bool touched_;
};

// While it lives, companions can be dropped and made anew, and their tables stay replicated.
class CompanionsAside {
 public:
  explicit CompanionsAside(Connection* connection)
      : connection_(connection), before_(connection->companions_aside) {
    connection->companions_aside = true;
  }
  CompanionsAside(const CompanionsAside&) = delete;
  CompanionsAside& operator=(const CompanionsAside&) = delete;
  ~CompanionsAside() { connection_->companions_aside = before_; }

 private:
  Connection* connection_;
  bool before_;
};

// Puts last_insert_rowid() back: it is the user's.
class KeepRowid {
 public:
  explicit KeepRowid(Connection* connection)
      : connection_(connection), rowid_(connection->api->last_insert_rowid(connection->db)) {}
  KeepRowid(const KeepRowid&) = delete;
  KeepRowid& operator=(const KeepRowid&) = delete;
  ~KeepRowid() { connection_->api->set_last_insert_rowid(connection_->db, rowid_); }

 private:
  Connection* connection_;
  sqlite3_int64 rowid_;
};

// Opens a transaction and rolls it back unless it was committed.
class Transaction {
 public:
  explicit Transaction(Connection* connection) : connection_(connection), keep_(connection) {}
  ~Transaction() {
    if (open_) connection_->Rollback();
  }
  int Begin() {
    open_ = true;
    return connection_->Execute("BEGIN IMMEDIATE");
  }
  int Commit() {
    const int rc = connection_->Execute("COMMIT");
    if (rc == SQLITE_OK) open_ = false;
    return rc;
  }

 private:
  Connection* connection_;
  KeepRowid keep_;
  bool open_ = false;
};

}  // namespace mergelite
