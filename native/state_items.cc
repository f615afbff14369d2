#include "state_items.h"

#include <algorithm>

#include "connection.h"

namespace mergelite {

int StateItems::Malformed() {
  return connection_->Fail("PAYLOAD_CORRUPT", "a chunk of state makes no sense",
                           "The message was damaged on its way or its sender is.");
}

int StateItems::LearnShapes(bool* busy) {
  std::vector<Span> missing;
  for (const Span& descriptor : chunk_.shapes) {
    const Shape* shape;
    const int rc = connection_->catalog.FindShape(connection_, Hash64(descriptor), &shape);
    if (rc != SQLITE_OK) return rc;
    if (shape == nullptr) missing.push_back(descriptor);
  }
  if (missing.empty()) return SQLITE_OK;
  Transaction transaction(connection_);
  int rc = transaction.Begin();
  if ((rc & 0xff) == SQLITE_BUSY) return *busy = true, connection_->error.Clear(), SQLITE_OK;
  int64_t id;
  for (size_t i = 0; rc == SQLITE_OK && i < missing.size(); i++) {
    rc = connection_->catalog.AddShape(connection_, missing[i], &id);
  }
  if (rc == SQLITE_OK) rc = transaction.Commit();
  if (rc == SQLITE_OK) return rc;
  connection_->catalog.Forget();
  connection_->merge->targets.clear();
  return rc;
}

int StateItems::ReadShapes() {
  shapes_.clear();
  Payload payload;
  for (const Span& descriptor : chunk_.shapes) {
    const Shape* shape;
    payload.shape_hashes.push_back(Hash64(descriptor));
    const int rc = connection_->catalog.FindShape(connection_, payload.shape_hashes.back(), &shape);
    if (rc != SQLITE_OK) return rc;
    if (shape == nullptr) return Malformed();
    shapes_.push_back(shape);
  }
  reader_ = std::make_unique<PatchReader>(payload, shapes_.data());
  return SQLITE_OK;
}

int StateItems::Validate() {
  Reader in(chunk_.items);
  int rc = ReadShapes();
  bool goes_on = false;
  for (uint64_t i = 0; rc == SQLITE_OK && i < chunk_.item_count; i++) {
    StateItem item;
    Patch patch;
    rc = Next(&in, &item, &patch);
    if (rc == SQLITE_OK && item.mention && patch.operation != Operation::kDelete) rc = Malformed();
    newest_ = std::max(newest_, item.timestamp);
    goes_on = item.goes_on;
  }
  for (const StateOrigin& origin : chunk_.vector) newest_ = std::max(newest_, origin.timestamp);
  return rc == SQLITE_OK && (goes_on || !in.AtEnd()) ? Malformed() : rc;
}

int64_t StateItems::TooFarAhead() const {
  const int64_t drift_ms = connection_->merge->drift_max_ms;
  const int64_t ahead_ms = WallMsOf(newest_) - connection_->NowMs();
  return ahead_ms > drift_ms ? WallMsOf(newest_) - drift_ms : 0;
}

int StateItems::Observe() {
  Log& log = connection_->log;
  for (const StateOrigin& known : chunk_.vector) {
    log.Observe(known.timestamp);
    if (known.sequence == 0) continue;
    Origin* origin;
    const int rc = OriginOf(known.peer, &origin);
    if (rc != SQLITE_OK) return rc;
    if (origin->reached >= known.sequence) continue;
    origin->reached = known.sequence;
    origin->dirty = true;
  }
  Reader in(chunk_.items);
  StateItem item;
  for (uint64_t i = 0; i < chunk_.item_count; i++) {
    if (ReadStateItem(&in, chunk_.vector.size(), &item)) log.Observe(item.timestamp);
  }
  SaveNewest(connection_);
  return SQLITE_OK;
}

int StateItems::Next(Reader* in, StateItem* item, Patch* patch) {
  const bool sound =
      ReadStateItem(in, chunk_.vector.size(), item) && reader_->ReadOne(item->patch, patch);
  return sound ? SQLITE_OK : Malformed();
}

int StateItems::Merge(const StateItem& item, const Patch& patch) {
  if (item.mention) return SQLITE_OK;
  Target* target;
  int rc = ResolveTarget(connection_, patch.shape, &target);
  Origin* origin = nullptr;
  if (rc == SQLITE_OK) rc = OriginOf(chunk_.vector[item.origin].peer, &origin);
  if (rc != SQLITE_OK) return rc;
  connection_->merge->stats->patches++;
  return MergePatch(connection_, {origin, item.sequence, {item.timestamp, origin->ordinal}}, target,
                    patch);
}

int StateItems::NoteParked() {
  Statement query;
  int rc =
      connection_->Check(query.Prepare(connection_->api, connection_->db,
                                       "SELECT coalesce(max(id), 0) FROM main._mergelite_parked"));
  if (rc == SQLITE_OK) rc = query.Step();
  if (rc != SQLITE_ROW) return connection_->Check(rc);
  last_parked_ = query.ColumnInteger(0);
  return SQLITE_OK;
}

int StateItems::DropRepeated() {
  if (connection_->merge->stats->parked == 0) return SQLITE_OK;
  Statement statement;
  const int rc = connection_->Check(statement.Prepare(
      connection_->api, connection_->db,
      "DELETE FROM main._mergelite_parked AS new WHERE id > ?1 AND EXISTS (SELECT 1 FROM "
      "main._mergelite_parked AS old WHERE old.table_name = new.table_name AND old.key = "
      "new.key AND old.id < new.id AND (old.peer, old.timestamp, old.reason, old.shape, "
      "substr(old.patch, 2)) = (new.peer, new.timestamp, new.reason, new.shape, "
      "substr(new.patch, 2)))"));
  if (rc != SQLITE_OK) return rc;
  statement.Integer(1, last_parked_);
  return connection_->Check(statement.Run());
}

int StateItems::OriginOf(uint64_t peer, Origin** origin) {
  *origin = connection_->log.FindOrigin(peer);
  return *origin != nullptr ? SQLITE_OK : connection_->log.AddOrigin(connection_, peer, origin);
}

void SaveNewest(Connection* connection) {
  Origin* self = connection->log.self();
  self->timestamp = connection->log.newest_timestamp();
  self->dirty = true;
}

int FoldNow(Connection* connection) {
  const Deadline never(connection, 1e15);
  bool done;
  return connection->merge->clocks.Fold(connection, never, true, &done);
}

}  // namespace mergelite
