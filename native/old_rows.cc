#include "old_rows.h"

#include "connection.h"
#include "table_sql.h"

namespace mergelite {
namespace {

constexpr size_t kHeadsMin = 64;
constexpr size_t kBytesKept = size_t{1} << 20;
// What statements announced and then did not change is noted in vain. This much is remembered from
// part to part.
constexpr size_t kCarriedBytesMax = size_t{8} << 20;

uint64_t HashOf(const Table* table, Span key) {
  return Hash64(key) ^ static_cast<uint64_t>(table->id) * 0x9e3779b97f4a7c15;
}

}  // namespace

int OldRows::Note(Connection* connection, Table* table, Span key, bool may_go) {
  if (Entry* known = Find(table, key)) {
    known->may_go = known->may_go || may_go;
    return SQLITE_OK;
  }
  const Shape& shape = *table->shape;
  std::vector<Value> values(shape.keys.size());
  Reader in(key);
  for (Value& value : values) {
    if (!ReadValue(&in, &value)) return connection->Fail("CAPTURE_FAILED", "a key is damaged");
  }
  int rc = PrepareReadRow(connection, table);
  if (rc != SQLITE_OK) return rc;
  BindKey(&table->read_row, values.data(), values.size());
  rc = table->read_row.Step();
  if (rc != SQLITE_ROW) {
    if (rc == SQLITE_OK) Add(table, key, {}, false);
    return connection->Check(rc);
  }
  Bytes spelled, content;
  Value value;
  for (size_t i = 0; i < shape.keys.size(); i++) {
    table->read_row.ColumnAny(static_cast<int>(shape.columns.size() + i), &value);
    AppendValue(&spelled, value);
  }
  for (size_t i = 0; i < shape.columns.size(); i++) {
    table->read_row.ColumnAny(static_cast<int>(i), &value);
    AppendValue(&content, value);
  }
  rc = connection->Check(table->read_row.Reset());
  if (rc != SQLITE_OK) return rc;
  // A patch of 'A' may be about the row that was there as 'a', or each may have its own.
  if (!(spelled.span() == key)) Add(table, key, spelled.span(), false);
  Entry* entry = Find(table, spelled.span());
  if (entry == nullptr) {
    Add(table, spelled.span(), content.span(), true);
    entry = &entries_.back();
  }
  entry->may_go = entry->may_go || may_go;
  return SQLITE_OK;
}

// A row whose number SQLite chose is known by it only now. Triggers of the user's may have changed
// it before our trigger ran: then what was noted is the new row. It is not where a row of that
// number may have been removed before.
void OldRows::Inserted(const Table* table, Span key) {
  Entry* entry = Find(table, key);
  if (entry == nullptr) return Add(table, key, {}, false);
  if (entry->may_go || !entry->there) return;
  entry->there = false;
  entry->size = entry->key_size;
}

// Nothing has touched it since the part began, so it was gone by then.
void OldRows::Gone(const Table* table, Span key) {
  if (!forgotten_ && Find(table, key) == nullptr) Add(table, key, {}, false);
}

OldRows::Entry* OldRows::Find(const Table* table, Span key) {
  if (heads_.empty()) return nullptr;
  const uint64_t hash = HashOf(table, key);
  for (uint32_t at = heads_[hash & (heads_.size() - 1)]; at != 0; at = entries_[at - 1].next) {
    Entry& entry = entries_[at - 1];
    if (entry.hash == hash && entry.table == table && KeyOf(entry) == key) return &entry;
  }
  return nullptr;
}

void OldRows::Add(const Table* table, Span key, Span values, bool there) {
  const size_t offset = bytes_.size();
  bytes_.Append(key);
  bytes_.Append(values);
  entries_.push_back({table, HashOf(table, key), offset, key.size, key.size + values.size, 0, there,
                      false, false, false});
  if (entries_.size() > heads_.size()) {
    Rehash();
  } else {
    Link(static_cast<uint32_t>(entries_.size() - 1));
  }
}

// The newest is the first of its chain, so that it can be taken out again.
void OldRows::Link(uint32_t index) {
  uint32_t& head = heads_[entries_[index].hash & (heads_.size() - 1)];
  entries_[index].next = head;
  head = index + 1;
}

void OldRows::Rehash() {
  const size_t size = heads_.empty() ? kHeadsMin : heads_.size() * 2;
  heads_.assign(size, 0);
  for (size_t i = 0; i < entries_.size(); i++) Link(static_cast<uint32_t>(i));
}

void OldRows::CutTo(size_t count) {
  while (entries_.size() > count) {
    const Entry& last = entries_.back();
    heads_[last.hash & (heads_.size() - 1)] = last.next;
    bytes_.Truncate(last.offset);
    entries_.pop_back();
  }
  if (carried_ > bytes_.size()) carried_ = bytes_.size();
}

void OldRows::Clear() {
  bytes_.ClearAndTrim(kBytesKept);
  if (!entries_.empty()) heads_.assign(kHeadsMin, 0);
  entries_.clear();
  carried_ = 0;
  forgotten_ = false;
}

OldRows OldRows::Copy(size_t count) const {
  OldRows copy;
  copy.forgotten_ = forgotten_;
  for (size_t i = 0; i < count && i < entries_.size(); i++) {
    const Entry& entry = entries_[i];
    copy.Add(entry.table, KeyOf(entry), ValuesOf(entry), entry.there);
    copy.entries_.back().may_go = entry.may_go;
  }
  return copy;
}

void OldRows::Encode(const Payload& patches, const std::vector<Table*>& tables, Bytes* payload) {
  payload->Clear();
  if (entries_.empty()) return;
  bool respelled = false;
  for (Entry& entry : entries_) {
    entry.patched = entry.written = false;
    respelled = respelled || Respelled(entry);
  }
  std::vector<const Shape*> shapes;
  for (const Table* table : tables) shapes.push_back(table->shape);
  Patch patch;
  for (PatchReader reader(patches, shapes.data()); respelled && reader.Next(&patch);) {
    Entry* entry = Find(tables[patch.shape_index], patch.encoded_key);
    if (entry != nullptr) entry->patched = true;
  }
  Bytes body;
  uint64_t count = 0;
  const auto write = [&](Entry* entry) {
    entry->written = true;
    count++;
    body.Varint(
        PatchHead(patch.shape_index, entry->there ? Operation::kInsert : Operation::kDelete));
    body.Append(bytes_.data() + entry->offset, entry->there ? entry->size : entry->key_size);
  };
  for (PatchReader reader(patches, shapes.data()); reader.Next(&patch);) {
    Entry* entry = Find(tables[patch.shape_index], patch.encoded_key);
    if (entry == nullptr || entry->written) continue;
    write(entry);
    if (!Respelled(*entry)) continue;
    Entry* spelled = Find(entry->table, ValuesOf(*entry));
    if (spelled != nullptr && !spelled->patched && !spelled->written) write(spelled);
  }
  if (count == 0) return;
  EncodePayload({0, patches.shape_hashes.data(), patches.shape_hashes.size(), count, body.span()},
                payload);
}

void OldRows::EndPart() {
  OldRows rest;
  for (const Entry& entry : entries_) {
    if (entry.written) continue;
    rest.Add(entry.table, KeyOf(entry), ValuesOf(entry), entry.there);
    rest.entries_.back().may_go = entry.may_go;
  }
  const bool too_much = rest.bytes_.size() > kCarriedBytesMax;
  if (too_much) rest.Clear();
  rest.carried_ = rest.bytes_.size();
  rest.forgotten_ = forgotten_ || too_much;
  *this = static_cast<OldRows&&>(rest);
}

}  // namespace mergelite
