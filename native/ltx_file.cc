// Where offsets have 64 bits anyway, this only gives functions names that not every libc has.
#undef _FILE_OFFSET_BITS

#include "ltx_file.h"

#include <errno.h>
#include <unistd.h>

namespace mergelite {
namespace {

static_assert(sizeof(off_t) == 8, "files are larger than 2 GiB");

// Of pages that are unpacked before they are written: they are still in the processor's cache then.
constexpr size_t kUnpackedBytes = 256 * 1024;

int WriteAll(int file, const uint8_t* data, size_t size, int64_t at) {
  while (size > 0) {
    const ssize_t written = pwrite(file, data, size, at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    data += written;
    size -= static_cast<size_t>(written);
    at += written;
  }
  return 0;
}

}  // namespace

LtxFile::LtxFile(size_t page_size, uint32_t commit, bool is_snapshot, Span head)
    : stream_(page_size, commit, is_snapshot, head) {}

LtxFile::Written LtxFile::WriteBlocks(Span in, int file) {
  numbers_.resize(kUnpackedBytes / stream_.page_size());
  Written done;
  while (!done.ended) {
    LtxDecoded some;
    if (begun_.empty()) {
      some = DecodeSome({in.data + done.consumed, in.size - done.consumed});
      done.consumed += some.consumed;
    } else {
      done.consumed += CompleteBlock({in.data + done.consumed, in.size - done.consumed});
      some = DecodeSome(begun_.span());
      if (some.consumed > 0) begun_.Clear();
    }
    if (!stream_.wrong().empty()) return done;
    done.ended = some.ended;
    done.error = WritePages(some.count, file);
    if (done.error != 0 || some.consumed == 0) break;
  }
  if (done.ended || done.error != 0) return done;
  begun_.Append(in.data + done.consumed, in.size - done.consumed);
  done.consumed = in.size;
  return done;
}

// Appends what the block lacks that has begun, as far as it is there. Returns how much that is.
size_t LtxFile::CompleteBlock(Span in) {
  size_t taken = 0;
  for (;;) {
    const size_t wanted = stream_.BlockBytes(begun_.span());
    const size_t lacking = wanted > begun_.size() ? wanted - begun_.size() : 0;
    const size_t some = lacking < in.size - taken ? lacking : in.size - taken;
    if (some == 0) return taken;
    begun_.Append(in.data + taken, some);
    taken += some;
  }
}

LtxDecoded LtxFile::DecodeSome(Span in) {
  const size_t page_size = stream_.page_size();
  return stream_.Decode(
      in, {page_size, numbers_.size(), numbers_.data(), data_.Reserve(kUnpackedBytes)});
}

int LtxFile::WritePages(size_t count, int file) const {
  const size_t page_size = stream_.page_size();
  for (size_t start = 0; start < count;) {
    const uint32_t first = numbers_[start];
    size_t run = 1;
    while (start + run < count && numbers_[start + run] == first + run) run++;
    const int64_t at = static_cast<int64_t>(first - 1) * static_cast<int64_t>(page_size);
    const int error = WriteAll(file, data_.data() + start * page_size, run * page_size, at);
    if (error != 0) return error;
    start += run;
  }
  return 0;
}

}  // namespace mergelite
