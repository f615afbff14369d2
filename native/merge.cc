#include "merge.h"

#include <algorithm>

#include "changeset.h"
#include "connection.h"
#include "merge_scope.h"
#include "violations.h"
#include "withheld.h"

namespace mergelite {
namespace {

// Below this a merge is over before turning triggers off would pay: SQLite compiles every statement
// of the connection again when it is told to.
constexpr size_t kManyBytes = size_t{16} << 10;

const char* DecodeErrorText(DecodeError error) {
  switch (error) {
    case DecodeError::kTruncated:
      return "truncated";
    case DecodeError::kFormat:
      return "unknown format";
    case DecodeError::kChecksum:
      return "checksum mismatch";
    default:
      return "malformed";
  }
}

constexpr const char* kPartRefused = "another part of its transaction makes no sense";

// Bytes that are not what their origin wrote: whoever has them right is asked for them again.
bool IsDamage(DecodeError error) {
  return error == DecodeError::kTruncated || error == DecodeError::kChecksum;
}

bool PatchesMakeSense(const Changeset& changeset, bool* inserts) {
  PatchReader reader(changeset.payload, changeset.shapes.data());
  Patch patch;
  *inserts = false;
  while (reader.Next(&patch)) {
    if (patch.operation == Operation::kInsert) *inserts = true;
  }
  return reader.ok();
}

int MergePatches(Connection* connection, Origin* origin, const Record& record,
                 Changeset* changeset) {
  int rc = ResolveTargets(connection, changeset);
  if (rc != SQLITE_OK) return rc;
  rc = connection->merge->scope->BeforeWriting();
  if (rc != SQLITE_OK) return rc;
  const bool newest = record.timestamp > connection->log.newest_timestamp();
  const Stamp stamp{record.timestamp, origin->ordinal};
  const Incoming incoming{origin, record.sequence, stamp, newest, true};
  PatchReader reader(changeset->payload, changeset->shapes.data());
  Patch patch;
  while (reader.Next(&patch)) {
    connection->merge->stats->patches++;
    rc = MergePatch(connection, incoming, changeset->targets[patch.shape_index], patch);
    if (rc == SQLITE_OK && connection->merge->doubts.size() >= kDoubtsMax) {
      rc = SettleDoubts(connection);
    }
    if (rc == SQLITE_OK) rc = connection->merge->clocks.MakeRoom(connection);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

// A changeset that passes its checksum but makes no sense was made so: nothing of it is merged, and
// its sequence counts as held, so that the origin's next ones are.
int Refuse(Connection* connection, const Record& record, const char* reason) {
  connection->merge->stats->refused.push_back({record.origin, record.sequence, reason});
  return connection->refusals.Add(connection, record, reason);
}

void Advance(Connection* connection, Origin* origin, const Record& record) {
  origin->merged = record.sequence;
  origin->timestamp = std::max(origin->timestamp, record.timestamp);
  origin->dirty = true;
  connection->log.Observe(record.timestamp);
  if (origin->absorbed + 1 >= record.sequence) origin->absorbed = record.sequence;
  connection->merge->stats->changesets++;
}

bool TooFarAhead(Connection* connection, uint64_t timestamp) {
  MergeState& merge = *connection->merge;
  const int64_t ahead_ms = WallMsOf(timestamp) - connection->NowMs();
  if (ahead_ms <= merge.drift_max_ms) return false;
  const int64_t resume = WallMsOf(timestamp) - merge.drift_max_ms;
  int64_t& earliest = merge.stats->resume_at_ms;
  if (earliest == 0 || resume < earliest) earliest = resume;
  return true;
}

// How much of an origin's log, after `merged`, is ready: whole transactions whose time has come.
// Returns the last sequence of the next transaction, or 0.
int NextWhole(Connection* connection, const Origin& origin, uint64_t* last) {
  *last = 0;
  Payload payload;
  return connection->log.ForEach(connection, origin, origin.merged, origin.held,
                                 [&](const Record& record) {
                                   if (TooFarAhead(connection, record.timestamp)) return false;
                                   // What is refused says as much as its flags say; a transaction
                                   // that ends in nonsense ends.
                                   (void)DecodePayload(record.payload, &payload);
                                   if (!payload.continues()) {
                                     *last = record.sequence;
                                     return false;
                                   }
                                   return true;
                                 });
}

// One changeset from the log. `refuse`: another part of its transaction makes no sense.
int MergeLogged(Connection* connection, Origin* origin, uint64_t sequence, bool refuse) {
  // Read one at a time: merging reads the log for other purposes too.
  Bytes records;
  int rc = connection->log.Read(connection, origin->peer, sequence, sequence, 0, &records);
  if (rc != SQLITE_OK) return rc;
  Reader in(records.span());
  Record record;
  if (!ReadRecord(&in, &record)) return connection->Fail("FILE_DAMAGED", "the log has a hole");
  if (refuse) {
    rc = connection->refusals.Add(connection, record, kPartRefused);
  } else {
    Changeset changeset;
    uint64_t unknown = 1;
    if (DecodePayload(record.payload, &changeset.payload) == DecodeError::kNone) {
      rc = ResolveShapes(connection, &changeset, &unknown);
    }
    if (rc == SQLITE_OK && unknown == 0) {
      rc = MergePatches(connection, origin, record, &changeset);
    }
  }
  if (rc == SQLITE_OK) Advance(connection, origin, record);
  return rc;
}

// Merges what is in the log but not in the tables: the parts of a large transaction once all are
// here, and changesets whose clock was too far ahead.
int MergePending(Connection* connection, Origin* origin, const Deadline& deadline) {
  while (origin->merged < origin->held) {
    uint64_t last;
    int rc = NextWhole(connection, *origin, &last);
    if (rc != SQLITE_OK) return connection->Check(rc);
    if (last == 0) return SQLITE_OK;
    bool refuse;
    rc = connection->refusals.Any(connection, origin->peer, origin->merged + 1, last, &refuse);
    for (uint64_t next = origin->merged + 1; rc == SQLITE_OK && next <= last; next++) {
      rc = MergeLogged(connection, origin, next, refuse);
    }
    if (rc != SQLITE_OK) return rc;
    if (deadline.Passed()) {
      connection->merge->stats->more = true;
      return SQLITE_OK;
    }
  }
  return SQLITE_OK;
}

// What to do with one record is decided before anything is written.
int MergeRecord(Connection* connection, const Record& record, const Deadline& deadline) {
  MergeState& merge = *connection->merge;
  Log& log = connection->log;
  Origin* origin = log.FindOrigin(record.origin);
  if (origin == log.self()) {
    merge.stats->duplicates++;
    // A peer that knows more of our own writes than we do: our file was set back.
    if (record.sequence > origin->held) merge.stats->gaps.push_back({record.origin, 0});
    return SQLITE_OK;
  }
  const uint64_t held = origin == nullptr ? 0 : origin->held;
  if (record.sequence <= held) return merge.stats->duplicates++, SQLITE_OK;
  if (record.sequence != held + 1) {
    auto& gaps = merge.stats->gaps;
    for (const MergeStats::Gap& gap : gaps) {
      if (gap.peer == record.origin) return SQLITE_OK;
    }
    gaps.push_back({record.origin, held + 1});
    return SQLITE_OK;
  }
  Changeset changeset;
  const DecodeError error = DecodePayload(record.payload, &changeset.payload);
  if (IsDamage(error)) {
    return connection->Fail("PAYLOAD_CORRUPT", DecodeErrorText(error),
                            "The message was damaged on its way: it is asked for again over the "
                            "next link.");
  }
  uint64_t unknown = 0;
  int rc =
      error == DecodeError::kNone ? ResolveShapes(connection, &changeset, &unknown) : SQLITE_OK;
  if (rc != SQLITE_OK) return rc;
  if (unknown != 0) {
    merge.stats->unknown_shapes.push_back(unknown);
    return SQLITE_OK;
  }
  bool inserts = false;
  const char* reason = error != DecodeError::kNone              ? DecodeErrorText(error)
                       : !PatchesMakeSense(changeset, &inserts) ? "patches make no sense"
                                                                : nullptr;
  // Its rows may have been deleted by what left no trace here: only rows that come with the
  // deletes of their sender can tell. Values of a migration are older than they look.
  if (inserts && record.timestamp < log.swept()) {
    merge.stats->below++;
    merge.stats->gaps.push_back({record.origin, held + 1});
    return SQLITE_OK;
  }
  if (origin == nullptr) {
    rc = log.AddOrigin(connection, record.origin, &origin);
    if (rc != SQLITE_OK) return rc;
  }
  if (reason != nullptr) {
    rc = Refuse(connection, record, reason);
    if (rc != SQLITE_OK) return rc;
  }
  rc = log.Append(connection, *origin, record);
  if (rc != SQLITE_OK) return rc;
  const bool waits = origin->merged != origin->held || changeset.payload.continues() ||
                     TooFarAhead(connection, record.timestamp);
  origin->held = record.sequence;
  origin->dirty = true;
  // A part that another one follows completes nothing.
  if (waits && changeset.payload.continues()) return SQLITE_OK;
  if (waits) return MergePending(connection, origin, deadline);
  if (reason == nullptr) {
    rc = MergePatches(connection, origin, record, &changeset);
    if (rc != SQLITE_OK) return rc;
  }
  Advance(connection, origin, record);
  return SQLITE_OK;
}

}  // namespace

int AbsorbChangeset(Connection* connection, const Origin& origin, const Record& record) {
  bool refused;
  int rc = connection->refusals.Any(connection, record.origin, record.sequence, record.sequence,
                                    &refused);
  if (rc != SQLITE_OK || refused) return rc;
  Changeset changeset;
  rc = ReadMerged(connection, record, &changeset);
  if (rc != SQLITE_OK || changeset.targets.empty()) return rc;
  MergeState& merge = *connection->merge;
  PatchReader reader(changeset.payload, changeset.shapes.data());
  Patch patch;
  const Stamp stamp{record.timestamp, origin.ordinal};
  while (reader.Next(&patch)) {
    const Target& target = *changeset.targets[patch.shape_index];
    if (target.table == nullptr || !KeyFits(*target.table, patch)) continue;
    IdentityOf(*target.table->shape, patch.key, &merge.identity);
    uint8_t held;
    rc = HeldFor(connection, *target.table, merge.identity.span(), &held);
    if (rc != SQLITE_OK) return rc;
    if (target.table->has_unique_indexes || held != 0) {
      AskToSettle(target.table, merge.identity.span());
    }
    if (held == BitOf(Reason::kCheck)) {
      AddDoubt(connection, {&origin, record.sequence, stamp}, target.table, merge.identity.span(),
               patch.encoded_key);
    }
    const HashedRow row = Clocks::Hashed(*target.table, merge.identity.span());
    merge.clocks.Absorb(connection, target, patch, row, stamp);
    rc = merge.clocks.MakeRoom(connection);
    if (rc != SQLITE_OK) return rc;
    // A local write does not look at what is parked for its row, so that is done here.
    if (patch.operation == Operation::kUpdate || !AnyParked(connection)) continue;
    rc = DropParkedBefore(connection, *target.table, merge.identity.span(), stamp, false);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

int MergeRecords(Connection* connection, Span records, size_t offset, double budget_ms,
                 MergeStats* stats) {
  const Deadline deadline(connection, budget_ms);
  stats->consumed = offset;
  const bool many = records.size - offset >= kManyBytes;
  return InMergeTransaction(connection, stats, many, [&] {
    Clocks& clocks = connection->merge->clocks;
    bool done;
    int rc = clocks.AbsorbTail(connection, deadline, &done);
    if (rc != SQLITE_OK) return rc;
    if (!done || clocks.Full()) {
      stats->more = true;
      return clocks.Fold(connection, deadline, false, &done);
    }
    Reader in(records.data + offset, records.end());
    while (!in.AtEnd()) {
      Record record;
      if (!ReadRecord(&in, &record)) {
        return connection->Fail("RECORD_MALFORMED", "a changeset record does not decode",
                                "The message was damaged on its way or its sender is.");
      }
      rc = MergeRecord(connection, record, deadline);
      if (rc != SQLITE_OK) return rc;
      stats->consumed = static_cast<uint64_t>(in.at() - records.data);
      if (clocks.Full() || deadline.Passed()) break;
    }
    if (!in.AtEnd()) stats->more = true;
    return SQLITE_OK;
  });
}

int Maintain(Connection* connection, double budget_ms, MergeStats* stats) {
  const Deadline deadline(connection, budget_ms);
  return InMergeTransaction(connection, stats, false, [&] {
    Clocks& clocks = connection->merge->clocks;
    // What was parked may be gone by now, and asking costs less than looking for it.
    connection->merge->parked_loads = UINT64_MAX;
    bool done;
    int rc = clocks.AbsorbTail(connection, deadline, &done);
    if (rc != SQLITE_OK) return rc;
    if (!done) stats->more = true;
    if (clocks.WantsFold()) {
      rc = clocks.Fold(connection, deadline, false, &done);
      if (rc != SQLITE_OK) return rc;
      if (!done) stats->more = true;
    }
    if (stats->more) return SQLITE_OK;
    for (size_t i = 0; i < connection->log.origins().size(); i++) {
      rc = MergePending(connection, connection->log.origins()[i].get(), deadline);
      if (rc != SQLITE_OK) return rc;
    }
    if (!stats->more) {
      rc = RetryParked(connection, deadline, &done);
      if (rc == SQLITE_OK && !done) stats->more = true;
    }
    return rc;
  });
}

}  // namespace mergelite
