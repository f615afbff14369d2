#include "addon_ltx.h"

#include "addon_values.h"
#include "crc64.h"
#include "ltx_pages.h"

namespace mergelite {
namespace {

// The bytes of a typed array of any kind; the array has to stay alive.
struct View {
  uint8_t* data = nullptr;
  size_t size = 0;
};

View ViewOf(napi_env env, napi_value value, napi_typedarray_type wanted) {
  View view;
  void* data = nullptr;
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != wanted) {
    return view;
  }
  const size_t width = type == napi_uint8_array ? 1 : type == napi_uint32_array ? 4 : 8;
  return {static_cast<uint8_t*>(data), length * width};
}

napi_value BigInt(napi_env env, uint64_t number) {
  napi_value value = nullptr;
  napi_create_bigint_uint64(env, number, &value);
  return value;
}

uint64_t ToBigInt(napi_env env, napi_value value) {
  uint64_t number = 0;
  bool lossless = false;
  napi_get_value_bigint_uint64(env, value, &number, &lossless);
  return number;
}

// One call: what it works on belongs to JavaScript, and is held until it has been answered.
struct Task {
  enum class Kind { kEncode, kDecode, kChecksum };
  Kind kind = Kind::kEncode;
  LtxPages pages;
  View bytes;  // of the file: where to, or where from
  uint64_t crc = 0;
  LtxDecoded decoded;
  size_t written = 0;

  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
  napi_ref held[4] = {};
  size_t held_count = 0;

  void Hold(napi_env env, napi_value value) {
    if (napi_create_reference(env, value, 1, &held[held_count]) == napi_ok) held_count++;
  }
};

void Run(napi_env, void* data) {
  auto* task = static_cast<Task*>(data);
  switch (task->kind) {
    case Task::Kind::kEncode:
      task->written = EncodeLtxPages(task->pages, task->bytes.data, &task->crc);
      return;
    case Task::Kind::kDecode:
      task->decoded = DecodeLtxPages({task->bytes.data, task->bytes.size}, task->pages, &task->crc);
      return;
    case Task::Kind::kChecksum:
      ChecksumLtxPages(task->pages, reinterpret_cast<uint64_t*>(task->bytes.data));
  }
}

void Answer(napi_env env, napi_status, void* data) {
  auto* task = static_cast<Task*>(data);
  const LtxDecoded& decoded = task->decoded;
  Object result(env);
  result.Set("crc", BigInt(env, task->crc))
      .Set("bytes", task->kind == Task::Kind::kDecode ? decoded.consumed : task->written)
      .Set("pages", decoded.count)
      .Flag("ended", decoded.ended)
      .Set("wrong", String(env, decoded.wrong == nullptr ? "" : decoded.wrong));
  napi_resolve_deferred(env, task->deferred, result);
  for (size_t i = 0; i < task->held_count; i++) napi_delete_reference(env, task->held[i]);
  napi_delete_async_work(env, task->work);
  delete task;
}

napi_value Start(napi_env env, Task* task) {
  napi_value promise = nullptr;
  if (napi_create_promise(env, &task->deferred, &promise) == napi_ok &&
      napi_create_async_work(env, nullptr, String(env, "mergelite"), Run, Answer, task,
                             &task->work) == napi_ok &&
      napi_queue_async_work(env, task->work) == napi_ok) {
    return promise;
  }
  for (size_t i = 0; i < task->held_count; i++) napi_delete_reference(env, task->held[i]);
  if (task->work != nullptr) napi_delete_async_work(env, task->work);
  delete task;
  return nullptr;
}

// Arguments 0 to 2: page size, numbers, pages. Every length is checked here: nothing behind this
// asks again. False with an exception.
bool TakePages(Call* call, Task* task) {
  const uint64_t page_size = call->Integer(0);
  const View numbers = ViewOf(call->env, call->at(1), napi_uint32_array);
  const View data = ViewOf(call->env, call->at(2), napi_uint8_array);
  const size_t count = numbers.size / 4;
  if (!IsPageSize(page_size) || count == 0 || data.size / page_size < count) {
    Throw(call->env, "INVALID_OPTION", "pages and their numbers do not fit together", "");
    return false;
  }
  task->pages.page_size = page_size;
  task->pages.count = count;
  task->pages.numbers = reinterpret_cast<uint32_t*>(numbers.data);
  task->pages.data = data.data;
  return true;
}

napi_value Refuse(napi_env env, Task* task) {
  delete task;
  Throw(env, "INVALID_OPTION", "a buffer is too small for its pages", "");
  return nullptr;
}

// encodeLtxPages(pageSize, numbers, pages, sizes, out, crc), and decodeLtxPages likewise.
napi_value Convert(napi_env env, napi_callback_info info, Task::Kind kind) {
  Call call(env, info);
  auto* task = new Task;
  task->kind = kind;
  if (!TakePages(&call, task)) return delete task, nullptr;
  const View sizes = ViewOf(env, call.at(3), napi_uint32_array);
  task->bytes = ViewOf(env, call.at(4), napi_uint8_array);
  const LtxPages& pages = task->pages;
  const size_t room = pages.count * (kLtxHeadBytes + Lz4Bound(pages.page_size));
  const bool fits = kind == Task::Kind::kDecode || task->bytes.size >= room;
  if (sizes.size / 4 < pages.count || !fits) return Refuse(env, task);
  task->pages.sizes = reinterpret_cast<uint32_t*>(sizes.data);
  task->crc = ToBigInt(env, call.at(5));
  for (size_t i = 1; i <= 4; i++) task->Hold(env, call.at(i));
  return Start(env, task);
}

napi_value Encode(napi_env env, napi_callback_info info) {
  return Convert(env, info, Task::Kind::kEncode);
}

napi_value Decode(napi_env env, napi_callback_info info) {
  return Convert(env, info, Task::Kind::kDecode);
}

napi_value Checksums(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* task = new Task;
  task->kind = Task::Kind::kChecksum;
  if (!TakePages(&call, task)) return delete task, nullptr;
  task->bytes = ViewOf(env, call.at(3), napi_biguint64_array);
  if (task->bytes.size / 8 < task->pages.count) return Refuse(env, task);
  for (size_t i = 1; i <= 3; i++) task->Hold(env, call.at(i));
  return Start(env, task);
}

napi_value Checksum(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const View bytes = ViewOf(env, call.at(0), napi_uint8_array);
  return BigInt(env, Crc64(ToBigInt(env, call.at(1)), {bytes.data, bytes.size}));
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
