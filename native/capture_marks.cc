// Savepoints of capture: what a transaction has in memory is cut back as SQLite cuts back the file.
#include "connection.h"

namespace mergelite {

void Capture::Savepoint(int level) {
  last_update_.table = nullptr;
  const auto wanted = static_cast<size_t>(level);
  if (marks_.size() > wanted) marks_.resize(wanted);
  // Savepoints older than the first capture return to an empty buffer.
  while (marks_.size() < wanted) marks_.push_back({});
  marks_.push_back({body_.size(), parts_, patch_count_, candidates_.size(), tables_.size(),
                    old_.count(), poisoned_, written_});
}

void Capture::Release(int level) {
  if (level >= 0 && marks_.size() > static_cast<size_t>(level)) {
    marks_.resize(static_cast<size_t>(level));
  }
  if (marks_.empty()) retained_.clear();
}

void Capture::RollbackTo(int level) {
  last_update_.table = nullptr;
  const Mark mark = level >= 0 && static_cast<size_t>(level) < marks_.size()
                        ? marks_[static_cast<size_t>(level)]
                        : Mark{};
  if (mark.part < parts_) {
    // The log rows written since are undone by SQLite; what the first of them held from before the
    // savepoint comes back from memory.
    body_.Clear();
    old_.Clear();
    StartPart();
    for (Retained& retained : retained_) {
      if (retained.part != mark.part) continue;
      body_.Append(retained.body.span());
      old_ = static_cast<OldRows&&>(retained.old);
      tables_ = retained.tables;
      hashes_ = retained.hashes;
      for (size_t i = 0; i < tables_.size(); i++) {
        tables_[i]->capture_epoch = epoch_;
        tables_[i]->capture_index = static_cast<uint32_t>(i);
      }
    }
    while (!retained_.empty() && retained_.back().part >= mark.part) retained_.pop_back();
    parts_ = mark.part;
  }
  body_.Truncate(mark.size);
  old_.CutTo(mark.old_count);
  // Shapes that only undone patches have: they may be undone as well, and peers would ask for them.
  while (tables_.size() > mark.table_count) {
    tables_.back()->capture_epoch = 0;
    tables_.pop_back();
    hashes_.pop_back();
  }
  candidates_.Truncate(mark.candidates_size);
  patch_count_ = mark.patch_count;
  poisoned_ = mark.poisoned;
  // After a COMMIT that was refused the last part's row may be older than the savepoint.
  written_ = mark.written;
  // What a flush has read again since, of rows with patches that stay, is undone as well.
  settle_rows_ = false;
  for (const Table* table : tables_) settle_rows_ = settle_rows_ || table->has_user_triggers;
  if (level >= 0 && marks_.size() > static_cast<size_t>(level) + 1) {
    marks_.resize(static_cast<size_t>(level) + 1);
  }
}

}  // namespace mergelite
