// Capture: row triggers hand values over, the buffer collects them as encoded patches, and the
// virtual table `mergelite_transaction` turns the buffer into one log row when SQLite commits.
#pragma once
#include <vector>

#include "codec.h"
#include "old_rows.h"
#include "sqlite_api.h"

namespace mergelite {

struct Connection;
struct Table;

// What a trigger's first argument says: the database file it belongs to, the shape whose values it
// passes, and what happened. One literal, so that it costs one register.
enum class CaptureOp : uint8_t {
  kInsert = 1,
  kColumns = 2,
  kKey = 3,
  kDelete = 4,
  kCandidate = 5,
  kBefore = 6
};
constexpr int kCaptureOpBits = 3;
constexpr int kShapeIdBits = 20;
constexpr int64_t kShapeIdMax = (1 << kShapeIdBits) - 1;
constexpr int64_t CaptureLiteral(int64_t tag, int64_t shape_id, CaptureOp op) {
  return tag << (kShapeIdBits + kCaptureOpBits) | shape_id << kCaptureOpBits |
         static_cast<int64_t>(op);
}

// Numbers of parameters for which there is a `mergelite_capture_N`; a call takes the next larger.
// For tables with more columns than an SQL function may have parameters.
constexpr int kCaptureWidths[] = {128, 256, 512, 1024, 1999};
constexpr int kCaptureWidthMax = 1999;

// A part of a transaction is written to the log early once it is this large.
constexpr size_t kPartBytesMax = size_t{1} << 20;

class Capture {
 public:
  // One call of a trigger. Returns an SQLite result code, with the connection's error set.
  int Record(Connection* connection, int argc, sqlite3_value** argv);

  // The virtual table's side: SQLite says where the transaction stands.
  void Begin();
  int Sync(Connection* connection);
  void Commit(Connection* connection);
  void Rollback();
  void Savepoint(int level);
  void Release(int level);
  void RollbackTo(int level);

  bool enlisted() const { return enlisted_; }
  // Whether rows of the open transaction are in the log, with sequences that must stay together.
  bool has_parts() const { return first_sequence_ != 0; }
  // An error that leaves rows without patches: the transaction must not commit.
  void Poison() { poisoned_ = true; }
  void Finalize();

 private:
  struct Mark {
    size_t size;
    uint32_t part;
    uint64_t patch_count;
    size_t candidates_size;
    size_t table_count;
    size_t old_count;
    bool poisoned, written;
  };
  // What a part held that a savepoint may still return to, from before it was written to the log.
  struct Retained {
    uint32_t part;
    Bytes body;
    std::vector<Table*> tables;
    std::vector<uint64_t> hashes;
    OldRows old;
  };
  // A patch in the buffer, by its row.
  struct Touch {
    uint32_t table;
    Operation operation;
    size_t key_offset, key_size;
  };

  int Enlist(Connection* connection);
  int Resolve(Connection* connection, sqlite3_value* literal, CaptureOp* op, Table** table);
  void AppendHead(Table* table, Operation operation);
  int AppendKey(Connection* connection, const Table& table, sqlite3_value** values);
  int RecordInsert(Connection* connection, Table* table, int argc, sqlite3_value** argv);
  int RecordDelete(Connection* connection, Table* table, int argc, sqlite3_value** argv);
  int RecordColumns(Connection* connection, Table* table, int argc, sqlite3_value** argv);
  int RecordKey(Connection* connection, Table* table, int argc, sqlite3_value** argv);
  int RecordCandidate(Connection* connection, Table* table, int argc, sqlite3_value** argv);
  int RecordBefore(Connection* connection, Table* table, int argc, sqlite3_value** argv);
  int NoteOld(Connection* connection, Table* table, sqlite3_value** key, bool may_go);
  bool ExtendsLastUpdate(size_t start, size_t key_end) const;

  int Spill(Connection* connection);
  int Settle(Connection* connection);
  int SettleCandidates(Connection* connection);
  int SettleTouched(Connection* connection, bool more_follows);
  void CollectTouches(std::vector<Touch>* touches) const;
  Span KeyOf(const Touch& touch) const { return {body_.data() + touch.key_offset, touch.key_size}; }
  int ReadAgain(Connection* connection, Table* table, const Touch* touches, size_t count);
  int DeleteUnlessThere(Connection* connection, Table* table, Span encoded_key);
  int AppendFromTable(Connection* connection, Table* table, Span encoded_key,
                      const uint8_t* bitmap);
  int WritePart(Connection* connection, bool continues);
  int WriteOld(Connection* connection);
  Payload Patches() const;
  int Position(Connection* connection);
  int CheckStale(Connection* connection);
  void StartPart();
  void Reset();

  Bytes body_;
  Bytes candidates_;
  Bytes payload_;
  OldRows old_;
  Bytes key_;
  std::vector<Table*> tables_;  // by shape index of the current part
  std::vector<uint64_t> hashes_;
  std::vector<Mark> marks_;
  std::vector<Retained> retained_;
  uint64_t patch_count_ = 0;
  uint64_t total_patches_ = 0;
  uint64_t epoch_ = 1;  // tells which part a table's capture_index belongs to
  uint32_t parts_ = 0;  // parts of this transaction that are in the log
  uint64_t first_sequence_ = 0;
  uint64_t timestamp_ = 0;
  bool enlisted_ = false;
  bool poisoned_ = false;
  bool written_ = false;  // the last part is in the log, the commit is not through yet
  bool settle_rows_ = false;
  int enlist_reprepared_ = 0;
  int write_reprepared_ = 0;

  // The last update, while it may still take columns of the next trigger of the same row.
  struct LastUpdate {
    Table* table = nullptr;
    size_t start = 0;
    size_t key_end = 0;
    int highest = -1;
  } last_update_;

  Statement enlist_, write_old_;
};

// Registers the virtual tables that triggers call and that follow transactions.
int RegisterCaptureTables(Connection* connection, bool there);

}  // namespace mergelite
