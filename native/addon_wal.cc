#include "addon_wal.h"

#include "addon_values.h"
#include "wal_source.h"

namespace mergelite {
namespace {

// One operation. Typed arrays belong to JavaScript, and are held until it has been answered.
struct Task {
  enum class Kind { kOpen, kNext, kLetGo, kScan, kPages, kCheckpoint, kClose };
  Kind kind = Kind::kOpen;
  WalSource* source = nullptr;
  bool flag = false;
  WalPlace place;
  WalIndexHead end;
  uint32_t before = 0;
  const uint32_t *pages = nullptr, *frames = nullptr;
  size_t count = 0;
  uint8_t* out = nullptr;

  int rc = SQLITE_OK;
  bool moved = false;
  WalScan scan;
  Bytes data;

  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
  napi_ref held[3] = {};
};

int Checkpoint(Task* task) {
  WalSource::Carried carried;
  const int rc =
      task->source->Checkpoint(task->flag, task->place, task->before, &task->moved, &carried);
  if (!carried.is_there) return rc;
  task->end = carried.end;
  task->scan = static_cast<WalScan&&>(carried.scan);
  task->data = static_cast<Bytes&&>(carried.data);
  return rc;
}

int Operate(Task* task) {
  WalSource* source = task->source;
  switch (task->kind) {
    case Task::Kind::kOpen:
      return source->Open();
    case Task::Kind::kNext:
      return source->Next(task->flag, &task->end);
    case Task::Kind::kLetGo:
      return source->LetGo(task->flag);
    case Task::Kind::kScan:
      return source->Scan(task->place, task->end, task->before, &task->scan);
    case Task::Kind::kPages:
      return source->Pages(task->place.salt, task->pages, task->frames, task->count, task->flag,
                           task->out);
    case Task::Kind::kCheckpoint:
      return Checkpoint(task);
    case Task::Kind::kClose:
      source->Close();
  }
  return SQLITE_OK;
}

void Run(napi_env, void* data) {
  auto* task = static_cast<Task*>(data);
  task->source->Enter();
  task->rc = Operate(task);
  task->source->Leave();
}

napi_value Words(napi_env env, const uint32_t* words, size_t count) {
  void* data = nullptr;
  napi_value buffer = nullptr, array = nullptr;
  if (napi_create_arraybuffer(env, count * 4, &data, &buffer) != napi_ok) return nullptr;
  if (count > 0) memcpy(data, words, count * 4);
  napi_create_typedarray(env, napi_uint32_array, count, buffer, 0, &array);
  return array;
}

// The order in which JavaScript holds it and gives it back; a place is the last five.
constexpr size_t kEndWords = 8, kPlaceWords = 5;

napi_value EndOf(napi_env env, const WalIndexHead& end) {
  const WalPlace& place = end.end;
  const uint32_t words[kEndWords] = {
      end.change,        end.page_size, end.pages,       place.salt.first,
      place.salt.second, place.frame,   place.sum.first, place.sum.second,
  };
  return Words(env, words, kEndWords);
}

void PlaceFrom(const uint32_t* words, WalPlace* place) {
  *place = {{words[0], words[1]}, words[2], {words[3], words[4]}};
}

napi_value AnswerOf(napi_env env, const Task& task) {
  const WalScan& scan = task.scan;
  const bool lost = task.rc == SQLITE_ABORT;
  return Object(env)
      .Set("pageSize", static_cast<uint64_t>(task.source->page_size()))
      .Set("end", EndOf(env, task.end))
      .Set("pages", Words(env, scan.pages.data(), scan.pages.size()))
      .Set("frames", Words(env, scan.frames.data(), scan.frames.size()))
      .Set("data", Buffer(env, task.data.span()))
      .Set("commits", static_cast<uint64_t>(scan.commits))
      .Set("size", static_cast<uint64_t>(scan.size))
      .Flag("broken", scan.broken || lost)
      .Flag("moved", task.moved);
}

napi_value FailureOf(napi_env env, const Task& task) {
  napi_value error = nullptr;
  napi_create_error(env, String(env, "SQLITE"), String(env, task.source->message().c_str()),
                    &error);
  return error;
}

void Free(napi_env env, Task* task) {
  for (napi_ref ref : task->held) {
    if (ref != nullptr) napi_delete_reference(env, ref);
  }
  if (task->work != nullptr) napi_delete_async_work(env, task->work);
  if (task->source != nullptr) task->source->Release();
  delete task;
}

void Finish(napi_env env, napi_status, void* data) {
  auto* task = static_cast<Task*>(data);
  if (task->rc == SQLITE_OK || task->rc == SQLITE_ABORT) {
    napi_resolve_deferred(env, task->deferred, AnswerOf(env, *task));
  } else {
    napi_reject_deferred(env, task->deferred, FailureOf(env, *task));
  }
  Free(env, task);
}

napi_value Launch(napi_env env, Task* task) {
  napi_value promise = nullptr;
  if (napi_create_promise(env, &task->deferred, &promise) == napi_ok &&
      napi_create_async_work(env, nullptr, String(env, "mergelite"), Run, Finish, task,
                             &task->work) == napi_ok &&
      napi_queue_async_work(env, task->work) == napi_ok) {
    return promise;
  }
  Free(env, task);
  return nullptr;
}

WalSource* SourceOf(const Call& call, size_t index) {
  void* source = nullptr;
  napi_get_value_external(call.env, call.at(index), &source);
  return static_cast<WalSource*>(source);
}

// A typed array of at least `least` elements; null, with an exception, for anything else.
void* Elements(Call* call, size_t index, napi_typedarray_type wanted, size_t least, size_t* count) {
  void* data = nullptr;
  napi_typedarray_type type = napi_int8_array;
  *count = 0;
  const bool fits = napi_get_typedarray_info(call->env, call->at(index), &type, count, &data,
                                             nullptr, nullptr) == napi_ok &&
                    type == wanted && *count >= least && (data != nullptr || *count == 0);
  if (fits) return data;
  Throw(call->env, "INVALID_OPTION", "an array is too short, or of another kind", "");
  return nullptr;
}

Task* NewTask(Call* call, Task::Kind kind) {
  WalSource* source = SourceOf(*call, 0);
  if (source == nullptr) return nullptr;
  source->Retain();
  auto* task = new Task;
  task->kind = kind;
  task->source = source;
  task->flag = call->Integer(1) != 0;
  return task;
}

napi_value Start(napi_env env, napi_callback_info info, Task::Kind kind) {
  Call call(env, info);
  Task* task = NewTask(&call, kind);
  return task == nullptr ? nullptr : Launch(env, task);
}

napi_value Open(napi_env env, napi_callback_info info) {
  return Start(env, info, Task::Kind::kOpen);
}
napi_value Next(napi_env env, napi_callback_info info) {
  return Start(env, info, Task::Kind::kNext);
}
napi_value LetGo(napi_env env, napi_callback_info info) {
  return Start(env, info, Task::Kind::kLetGo);
}
napi_value Close(napi_env env, napi_callback_info info) {
  return Start(env, info, Task::Kind::kClose);
}

// walCheckpoint(source, barrier, place, before)
napi_value StartCheckpoint(napi_env env, napi_callback_info info) {
  Call call(env, info);
  size_t count = 0;
  const void* place = Elements(&call, 2, napi_uint32_array, kPlaceWords, &count);
  if (place == nullptr) return nullptr;
  Task* task = NewTask(&call, Task::Kind::kCheckpoint);
  if (task == nullptr) return nullptr;
  PlaceFrom(static_cast<const uint32_t*>(place), &task->place);
  task->before = static_cast<uint32_t>(call.Integer(3));
  return Launch(env, task);
}

// walScan(source, before, place, end)
napi_value Scan(napi_env env, napi_callback_info info) {
  Call call(env, info);
  size_t count = 0;
  const void* place = Elements(&call, 2, napi_uint32_array, kPlaceWords, &count);
  if (place == nullptr) return nullptr;
  const auto* end =
      static_cast<const uint32_t*>(Elements(&call, 3, napi_uint32_array, kEndWords, &count));
  if (end == nullptr) return nullptr;
  Task* task = NewTask(&call, Task::Kind::kScan);
  if (task == nullptr) return nullptr;
  task->before = static_cast<uint32_t>(call.Integer(1));
  PlaceFrom(static_cast<const uint32_t*>(place), &task->place);
  task->end.change = end[0];
  task->end.page_size = end[1];
  task->end.pages = end[2];
  PlaceFrom(end + 3, &task->end.end);
  return Launch(env, task);
}

// walPages(source, whole, place, pages, frames, out)
napi_value Pages(napi_env env, napi_callback_info info) {
  Call call(env, info);
  WalSource* source = SourceOf(call, 0);
  size_t places = 0, pages = 0, frames = 0, bytes = 0;
  const void* place = Elements(&call, 2, napi_uint32_array, kPlaceWords, &places);
  if (source == nullptr || place == nullptr) return nullptr;
  const void* numbers = Elements(&call, 3, napi_uint32_array, 1, &pages);
  if (numbers == nullptr) return nullptr;
  const void* found = Elements(&call, 4, napi_uint32_array, pages, &frames);
  if (found == nullptr) return nullptr;
  void* out = Elements(&call, 5, napi_uint8_array, pages * source->page_size(), &bytes);
  if (out == nullptr) return nullptr;
  Task* task = NewTask(&call, Task::Kind::kPages);
  PlaceFrom(static_cast<const uint32_t*>(place), &task->place);
  task->pages = static_cast<const uint32_t*>(numbers);
  task->frames = static_cast<const uint32_t*>(found);
  task->count = pages;
  task->out = static_cast<uint8_t*>(out);
  for (size_t i = 0; i < 3; i++) napi_create_reference(env, call.at(3 + i), 1, &task->held[i]);
  return Launch(env, task);
}

void ReleaseSource(napi_env, void* data, void*) { static_cast<WalSource*>(data)->Release(); }

napi_value NewSource(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  WalSource* source = WalSource::New(connection);
  if (source == nullptr) {
    Throw(env, "SHIP_UNSUPPORTED", "the database is not a file that another thread can open",
          "Use a database in a file, and an SQLite that was compiled for threads.");
    return nullptr;
  }
  napi_value external = nullptr;
  const bool made = napi_create_external(env, source, ReleaseSource, nullptr, &external) == napi_ok;
  if (!made) source->Release();
  return external;
}

// Rung by the commits of one connection; heard once for many.
struct ShipBell {
  napi_threadsafe_function function = nullptr;
  WalSource* source = nullptr;
  int handle = 0, frames_max = 0;
  std::atomic<bool> rung{false};
};

bool RingShip(void* context, int frames) {
  auto* bell = static_cast<ShipBell*>(context);
  if (!bell->rung.exchange(true)) {
    napi_call_threadsafe_function(bell->function, nullptr, napi_tsfn_nonblocking);
  }
  // JavaScript has not had its turn for so long: what it would read is read anew later.
  return frames >= bell->frames_max && bell->source->Abandon();
}

void HearShip(napi_env env, napi_value callback, void* context, void*) {
  if (env == nullptr) return;
  static_cast<ShipBell*>(context)->rung.store(false);
  napi_value result = nullptr;
  napi_call_function(env, Undefined(env), callback, 0, nullptr, &result);
}

void UnhangShip(const ShipBell* bell) {
  Connection* connection = FindConnection(bell->handle);
  if (connection == nullptr || connection->shipping_context != bell) return;
  connection->shipping = nullptr;
  connection->shipping_context = nullptr;
}

void FreeShip(napi_env, void* data, void*) {
  auto* bell = static_cast<ShipBell*>(data);
  UnhangShip(bell);
  bell->source->Release();
  delete bell;
}

// walWatch(handle, source, framesMax, callback)
napi_value Watch(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  WalSource* source = SourceOf(call, 1);
  if (connection == nullptr || source == nullptr) return nullptr;
  if (connection->shipping != nullptr) {
    Throw(env, "SHIP_ACTIVE", "this database connection is shipped already",
          "Use the shipper that `ship` returned first; it takes several storages.");
    return nullptr;
  }
  auto* bell = new ShipBell;
  source->Retain();
  bell->source = source;
  bell->handle = connection->handle;
  bell->frames_max = static_cast<int>(call.Integer(2));
  napi_create_threadsafe_function(env, call.at(3), nullptr, String(env, "mergelite"), 0, 1, bell,
                                  FreeShip, bell, HearShip, &bell->function);
  napi_unref_threadsafe_function(env, bell->function);
  connection->shipping_context = bell;
  connection->shipping = RingShip;
  return Undefined(env);
}

// walUnwatch(handle)
napi_value Unwatch(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = FindConnection(static_cast<int>(call.Integer(0)));
  if (connection == nullptr || connection->shipping == nullptr) return Undefined(env);
  auto* bell = static_cast<ShipBell*>(connection->shipping_context);
  UnhangShip(bell);
  napi_release_threadsafe_function(bell->function, napi_tsfn_abort);
  return Undefined(env);
}

}  // namespace

void AddWalFunctions(napi_env env, napi_value exports) {
  Export(env, exports,
         {
             {"walSource", NewSource},
             {"walOpen", Open},
             {"walNext", Next},
             {"walLetGo", LetGo},
             {"walScan", Scan},
             {"walPages", Pages},
             {"walCheckpoint", StartCheckpoint},
             {"walClose", Close},
             {"walWatch", Watch},
             {"walUnwatch", Unwatch},
         });
}

}  // namespace mergelite
