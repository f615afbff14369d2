// Digests of a table's rows, by which two peers find what differs without sending rows.
#pragma once
#include "clocks.h"
#include "sqlite_api.h"

namespace mergelite {

struct DigestPage {
  uint64_t rows = 0;
  Bytes last_key;  // encoded; where the next page begins
  bool done = false;
};

struct DigestRow {
  Text key;  // as SQL literals
  uint64_t hash = 0;
};

// Adds the hash of each row to the sum of its bucket. From after `after_key`, for about
// `budget_ms`.
int DigestRows(Connection* connection, const char* table, Span after_key, double budget_ms,
               uint64_t* sums, size_t buckets, DigestPage* page);
// The rows of one bucket.
int DigestBucket(Connection* connection, const char* table, Span after_key, double budget_ms,
                 size_t buckets, size_t bucket, std::vector<DigestRow>* rows, DigestPage* page);

}  // namespace mergelite
