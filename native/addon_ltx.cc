#include "addon_ltx.h"

#include "addon_task.h"
#include "crc64.h"
#include "ltx_pages.h"

namespace mergelite {
namespace {

uint64_t ToBigInt(napi_env env, napi_value value) {
  uint64_t number = 0;
  bool lossless = false;
  napi_get_value_bigint_uint64(env, value, &number, &lossless);
  return number;
}

// One call: what it works on belongs to JavaScript, and is held until it has been answered.
class LtxTask : public Task<LtxTask> {
 public:
  enum class Kind { kEncode, kDecode, kChecksum };
  explicit LtxTask(Kind kind) : kind(kind) {}

  void Run();
  const char* failure() const { return nullptr; }
  napi_value Answer(napi_env env) const;

  const Kind kind;
  LtxPages pages;
  Elements<uint8_t> bytes;  // of the file: where to, or where from
  uint64_t* checksums = nullptr;
  uint64_t crc = 0;

 private:
  LtxDecoded decoded_;
  size_t written_ = 0;
};

void LtxTask::Run() {
  switch (kind) {
    case Kind::kEncode:
      written_ = EncodeLtxPages(pages, bytes.data, &crc);
      return;
    case Kind::kDecode:
      decoded_ = DecodeLtxPages({bytes.data, bytes.count}, pages, &crc);
      return;
    case Kind::kChecksum:
      ChecksumLtxPages(pages, checksums);
  }
}

napi_value LtxTask::Answer(napi_env env) const {
  return Object(env)
      .Set("crc", BigInt(env, crc))
      .Set("bytes", static_cast<uint64_t>(kind == Kind::kDecode ? decoded_.consumed : written_))
      .Set("pages", static_cast<uint64_t>(decoded_.count))
      .Flag("ended", decoded_.ended)
      .Set("wrong", String(env, decoded_.wrong == nullptr ? "" : decoded_.wrong));
}

// Arguments 0 to 2: page size, numbers, pages. Every length is checked here: nothing behind this
// asks again. False with an exception.
bool TakePages(Call* call, LtxTask* task) {
  const uint64_t page_size = call->Integer(0);
  const auto numbers = call->Typed<uint32_t>(1);
  const auto data = call->Typed<uint8_t>(2);
  if (!IsPageSize(page_size) || numbers.count == 0 || data.count / page_size < numbers.count) {
    Throw(call->env, "INVALID_OPTION", "pages and their numbers do not fit together", "");
    return false;
  }
  task->pages.page_size = page_size;
  task->pages.count = numbers.count;
  task->pages.numbers = numbers.data;
  task->pages.data = data.data;
  return true;
}

napi_value Refuse(napi_env env, LtxTask* task) {
  delete task;
  Throw(env, "INVALID_OPTION", "a buffer is too small for its pages", "");
  return nullptr;
}

// encodeLtxPages(pageSize, numbers, pages, sizes, out, crc), and decodeLtxPages likewise.
napi_value Convert(napi_env env, napi_callback_info info, LtxTask::Kind kind) {
  Call call(env, info);
  auto* task = new LtxTask(kind);
  if (!TakePages(&call, task)) return delete task, nullptr;
  const auto sizes = call.Typed<uint32_t>(3);
  task->bytes = call.Typed<uint8_t>(4);
  const LtxPages& pages = task->pages;
  const size_t room = pages.count * (kLtxHeadBytes + Lz4Bound(pages.page_size));
  const bool fits = kind == LtxTask::Kind::kDecode || task->bytes.count >= room;
  if (sizes.count < pages.count || !fits) return Refuse(env, task);
  task->pages.sizes = sizes.data;
  task->crc = ToBigInt(env, call.at(5));
  for (size_t i = 1; i <= 4; i++) task->Hold(env, call.at(i));
  return LtxTask::Start(env, task);
}

napi_value Encode(napi_env env, napi_callback_info info) {
  return Convert(env, info, LtxTask::Kind::kEncode);
}

napi_value Decode(napi_env env, napi_callback_info info) {
  return Convert(env, info, LtxTask::Kind::kDecode);
}

napi_value Checksums(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* task = new LtxTask(LtxTask::Kind::kChecksum);
  if (!TakePages(&call, task)) return delete task, nullptr;
  const auto checksums = call.Typed<uint64_t>(3);
  if (checksums.count < task->pages.count) return Refuse(env, task);
  task->checksums = checksums.data;
  for (size_t i = 1; i <= 3; i++) task->Hold(env, call.at(i));
  return LtxTask::Start(env, task);
}

napi_value Checksum(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const auto bytes = call.Typed<uint8_t>(0);
  return BigInt(env, Crc64(ToBigInt(env, call.at(1)), {bytes.data, bytes.count}));
}

}  // namespace

void AddLtxFunctions(napi_env env, napi_value exports) {
  Export(env, exports,
         {
             {"encodeLtxPages", Encode},
             {"decodeLtxPages", Decode},
             {"checksumLtxPages", Checksums},
             {"crc64", Checksum},
         });
}

}  // namespace mergelite
