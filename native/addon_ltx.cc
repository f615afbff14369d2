#include "addon_ltx.h"

#include <atomic>

#include "addon_task.h"
#include "crc64.h"
#include "ltx_file.h"

namespace mergelite {
namespace {

uint64_t ToBigInt(napi_env env, napi_value value) {
  uint64_t number = 0;
  bool lossless = false;
  napi_get_value_bigint_uint64(env, value, &number, &lossless);
  return number;
}

// A file that JavaScript holds while it is read or written. One call at a time.
class OwnedLtx : public LtxFile {
 public:
  using LtxFile::LtxFile;
  void Retain() { owners_.fetch_add(1, std::memory_order_relaxed); }
  void Release() {
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 private:
  std::atomic<int> owners_{1};
};

// One call: what it works on belongs to JavaScript, and is held until it has been answered.
class LtxTask : public Task<LtxTask> {
 public:
  enum class Kind { kEncode, kDecode, kWrite, kChecksum, kSum };
  LtxTask(Kind kind, OwnedLtx* file) : kind_(kind), file_(file) {
    if (file_ != nullptr) file_->Retain();
  }
  ~LtxTask() {
    if (file_ != nullptr) file_->Release();
  }

  void Run();
  const char* failure() const { return nullptr; }
  napi_value Answer(napi_env env) const;

  LtxPages pages;
  Elements<uint8_t> bytes;  // of the file: where to, or where from
  int descriptor = -1;
  uint64_t* checksums = nullptr;
  uint32_t first = 0;

 private:
  const Kind kind_;
  OwnedLtx* const file_;
  size_t bytes_ = 0, pages_ = 0;
  bool ended_ = false;
  int error_ = 0;
  uint64_t sum_ = 0;
};

void LtxTask::Run() {
  const Span in{bytes.data, bytes.count};
  switch (kind_) {
    case Kind::kEncode:
      bytes_ = file_->stream()->Encode(pages, bytes.data);
      return;
    case Kind::kDecode: {
      const LtxDecoded done = file_->stream()->Decode(in, pages);
      bytes_ = done.consumed, pages_ = done.count, ended_ = done.ended;
      return;
    }
    case Kind::kWrite: {
      const LtxFile::Written done = file_->WriteBlocks(in, descriptor);
      bytes_ = done.consumed, ended_ = done.ended, error_ = done.error;
      return;
    }
    case Kind::kChecksum:
      ChecksumLtxPages(pages, checksums);
      return;
    case Kind::kSum:
      sum_ = SumPages(in, pages.page_size, first);
  }
}

napi_value LtxTask::Answer(napi_env env) const {
  if (kind_ == Kind::kSum) return BigInt(env, sum_);
  const Span wrong = file_ == nullptr ? Span{} : file_->stream()->wrong().span();
  return Object(env)
      .Set("bytes", static_cast<uint64_t>(bytes_))
      .Set("pages", static_cast<uint64_t>(pages_))
      .Flag("ended", ended_)
      .Set("error", static_cast<uint64_t>(error_))
      .Set("wrong", String(env, wrong));
}

napi_value Refuse(napi_env env, const char* what) {
  Throw(env, "INVALID_OPTION", what, "");
  return nullptr;
}

// The file that is the first argument; null with an error.
OwnedLtx* FileOf(const Call& call) {
  auto* file = ExternalOf<OwnedLtx>(call, 0);
  if (file == nullptr) Refuse(call.env, "there is no such file");
  return file;
}

// Numbers and contents of pages. Every length is checked here: nothing behind this asks again.
bool TakePages(Call* call, size_t page_size, LtxTask* task) {
  const auto numbers = call->Typed<uint32_t>(1);
  const auto data = call->Typed<uint8_t>(2);
  if (!IsPageSize(page_size) || numbers.count == 0 || data.count / page_size < numbers.count) {
    Refuse(call->env, "pages and their numbers do not fit together");
    return false;
  }
  task->pages = {page_size, numbers.count, numbers.data, data.data};
  return true;
}

// ltxFile(pageSize, commit, isSnapshot, header)
napi_value NewFile(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const uint64_t page_size = call.Integer(0);
  if (!IsPageSize(page_size)) return Refuse(env, "pages have no such size");
  return External(env, new OwnedLtx(page_size, static_cast<uint32_t>(call.Integer(1)),
                                    call.Integer(2) != 0, call.View(3)));
}

// encodeLtxPages(file, numbers, pages, out) and decodeLtxPages(file, numbers, pages, blocks)
template <LtxTask::Kind kKind>
napi_value Convert(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* file = FileOf(call);
  if (file == nullptr) return nullptr;
  auto* task = new LtxTask(kKind, file);
  if (!TakePages(&call, file->stream()->page_size(), task)) return delete task, nullptr;
  task->bytes = call.Typed<uint8_t>(3);
  const size_t room = task->pages.count * (kLtxHeadBytes + Lz4Bound(task->pages.page_size));
  if (kKind == LtxTask::Kind::kEncode && task->bytes.count < room) {
    delete task;
    return Refuse(env, "a buffer is too small for its pages");
  }
  for (size_t i = 1; i <= 3; i++) task->Hold(env, call.at(i));
  return LtxTask::Start(env, task);
}

// writeLtxPages(file, descriptor, blocks)
napi_value Write(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* file = FileOf(call);
  if (file == nullptr) return nullptr;
  auto* task = new LtxTask(LtxTask::Kind::kWrite, file);
  task->descriptor = static_cast<int>(call.Integer(1));
  task->bytes = call.Typed<uint8_t>(2);
  task->Hold(env, call.at(2));
  return LtxTask::Start(env, task);
}

// finishLtx(file)
napi_value Finish(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* file = FileOf(call);
  if (file == nullptr) return nullptr;
  Bytes tail;
  file->stream()->Finish(&tail);
  return Object(env)
      .Set("tail", Buffer(env, tail.span()))
      .Set("wrong", String(env, file->stream()->wrong().span()));
}

// ltxTailBytes(file)
napi_value TailBytes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* file = ExternalOf<OwnedLtx>(call, 0);
  return Number(env, static_cast<uint64_t>(file == nullptr ? 0 : file->stream()->tail_bytes()));
}

// checkLtxTail(file, tail)
napi_value Check(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* file = FileOf(call);
  if (file == nullptr) return nullptr;
  file->stream()->Check(call.View(1));
  return String(env, file->stream()->wrong().span());
}

// checksumLtxPages(pageSize, numbers, pages, checksums)
napi_value Checksums(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* task = new LtxTask(LtxTask::Kind::kChecksum, nullptr);
  if (!TakePages(&call, call.Integer(0), task)) return delete task, nullptr;
  const auto checksums = call.Typed<uint64_t>(3);
  if (checksums.count < task->pages.count) {
    delete task;
    return Refuse(env, "a buffer is too small for its pages");
  }
  task->checksums = checksums.data;
  for (size_t i = 1; i <= 3; i++) task->Hold(env, call.at(i));
  return LtxTask::Start(env, task);
}

// sumPages(pageSize, first, pages)
napi_value Sum(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const uint64_t page_size = call.Integer(0);
  if (!IsPageSize(page_size)) return Refuse(env, "pages have no such size");
  auto* task = new LtxTask(LtxTask::Kind::kSum, nullptr);
  task->pages.page_size = page_size;
  task->first = static_cast<uint32_t>(call.Integer(1));
  task->bytes = call.Typed<uint8_t>(2);
  task->Hold(env, call.at(2));
  return LtxTask::Start(env, task);
}

napi_value Checksum(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const auto bytes = call.Typed<uint8_t>(0);
  return BigInt(env, Crc64(ToBigInt(env, call.at(1)), {bytes.data, bytes.count}));
}

}  // namespace

void AddLtxFunctions(napi_env env, napi_value exports) {
  using Kind = LtxTask::Kind;
  Export(env, exports,
         {
             {"ltxFile", NewFile},
             {"encodeLtxPages", Convert<Kind::kEncode>},
             {"decodeLtxPages", Convert<Kind::kDecode>},
             {"writeLtxPages", Write},
             {"finishLtx", Finish},
             {"ltxTailBytes", TailBytes},
             {"checkLtxTail", Check},
             {"checksumLtxPages", Checksums},
             {"sumPages", Sum},
             {"crc64", Checksum},
         });
}

}  // namespace mergelite
