// Rows as they were before the open transaction, of tables that keep old values. A row is read and
// noted before the first statement that may change it; what no patch is about in the end is
// dropped.
#pragma once
#include <vector>

#include "codec.h"
#include "sqlite_api.h"

namespace mergelite {

struct Connection;
struct Table;

class OldRows {
 public:
  // Notes what the table holds under a key, encoded, unless that was done before. `may_go`: the
  // statement may take the row away.
  int Note(Connection* connection, Table* table, Span key, bool may_go);
  // A row has been inserted.
  void Inserted(const Table* table, Span key);
  // A row is gone, by a patch of this part or of an earlier one.
  void Gone(const Table* table, Span key);

  size_t count() const { return entries_.size(); }
  // Without what an earlier part of the transaction has left.
  size_t part_bytes() const { return bytes_.size() - carried_; }
  // Back to an earlier count.
  void CutTo(size_t count);
  void Clear();
  // The first ones, as if no part had been written.
  OldRows Copy(size_t count) const;

  // The rows that these patches are about, as a payload that would undo them: an insert of each row
  // that was there, a delete of each that was not, and where its key was there in another spelling,
  // an insert of that behind it. Empty when there are none.
  void Encode(const Payload& patches, const std::vector<Table*>& tables, Bytes* payload);
  // After that: the part is written. Rows it was not about may be changed in the next one.
  void EndPart();

 private:
  struct Entry {
    const Table* table;
    uint64_t hash;
    size_t offset;
    size_t key_size;
    size_t size;  // key and values; of a row that is not there, and the key it is there under
    uint32_t next;
    bool there;
    bool may_go;
    bool patched, written;
  };

  Span KeyOf(const Entry& entry) const { return {bytes_.data() + entry.offset, entry.key_size}; }
  Span ValuesOf(const Entry& entry) const {
    return {bytes_.data() + entry.offset + entry.key_size, entry.size - entry.key_size};
  }
  // Its row was there under the same key in another spelling.
  static bool Respelled(const Entry& entry) { return !entry.there && entry.size > entry.key_size; }
  Entry* Find(const Table* table, Span key);
  void Add(const Table* table, Span key, Span values, bool there);
  void Link(uint32_t index);
  void Rehash();

  Bytes bytes_;
  std::vector<Entry> entries_;
  std::vector<uint32_t> heads_;  // by hash: 1 + index of the newest entry
  size_t carried_ = 0;
  bool forgotten_ = false;  // some of what an earlier part has left was too much
};

}  // namespace mergelite
