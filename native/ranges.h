// Digests of key ranges. The first time a table is verified its keys are cut into ranges of about a
// thousand rows, each with the sum of its rows' hashes. Folding marks the ranges it touches, and
// only those are read again: verifying costs what has changed since, and writing nothing before.
#pragma once
#include "clocks.h"
#include "feed.h"
#include "row_scan.h"

namespace mergelite {

struct RangeDigest {
  uint64_t rows = 0;
  uint64_t sum = 0;  // of the rows' hashes
};

struct RangePart {
  Bytes from, to;
  RangeDigest digest;
};

struct RangeRow {
  Bytes key;
  uint64_t hash = 0;
};

struct RangeAnswer {
  bool busy = false;
  bool more = false;   // row clocks or ranges have to be brought up to date first: call again
  uint64_t order = 0;  // see KeyOrder
  std::vector<RangePart> parts;
  std::vector<RangeRow> rows;
  bool done = false;  // no row is left behind the last of `rows`
};

// A range in at most `parts` parts of about as many rows each, with their digests; in one when it
// cannot be cut.
int SplitRange(Connection* connection, const char* table, const KeyRange& range, size_t parts,
               double budget_ms, RangeAnswer* answer);
// Its rows, up to `limit` or about as many as fit into a message.
int ListRange(Connection* connection, const char* table, const KeyRange& range, size_t limit,
              double budget_ms, RangeAnswer* answer);
// All ranges are to be read again: somebody may have written behind the library's back.
int DoubtRanges(Connection* connection, const char* table, bool* busy);

// For folding: the rows of this feed have new clocks. Costs nothing while the table has no ranges.
int TouchRanges(Connection* connection, Table* table, Feed* feed);
// A row has left the table or come back without a new clock.
int TouchAllRanges(Connection* connection, const Table& table);
void AppendRangesName(Text* sql, const Text& table);

}  // namespace mergelite
