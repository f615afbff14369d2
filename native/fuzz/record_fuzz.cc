// Changeset records, one after the other, as a message or a page of the log holds them.
#include "../codec.h"
#include "../hlc.h"
#include "../stamp.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mergelite;
  fuzz::Exact copy({data, size});
  Reader in(copy.span());
  Bytes again;
  Record record;
  while (!in.AtEnd()) {
    const uint8_t* begin = in.at();
    if (!ReadRecord(&in, &record)) break;
    fuzz::Require(record.sequence <= kSequenceMax && record.timestamp <= kTimestampMax,
                  "a record that is read is within its limits");
    fuzz::Require(WallMsOf(record.timestamp) >= kEpochMs, "a timestamp has a wall time");
    Payload payload;
    (void)DecodePayload(fuzz::Exact(record.payload).span(), &payload);
    again.Clear();
    AppendRecord(record, &again);
    const Span read{begin, static_cast<size_t>(in.at() - begin)};
    fuzz::Require(again.span() == read, "a record has one encoding");
  }
  return 0;
}
