#include "addon_copy.h"

#include "addon_values.h"
#include "connection.h"
#include "copy_file.h"

namespace mergelite {
namespace {

// One call. The caller makes the next one when this one has been answered.
struct CopyTask {
  enum class Kind { kOpen, kBegin, kAppend, kRollback, kCheckpoint, kCheck, kClose };
  Kind kind = Kind::kCheck;
  CopyFile* file = nullptr;
  int rc = SQLITE_OK;
  Text path;
  LtxPages pages;
  uint32_t commit = 0;

  napi_async_work work = nullptr;
  napi_deferred deferred = nullptr;
  napi_ref held[2] = {};
};

int RunTask(CopyTask* task) {
  using Kind = CopyTask::Kind;
  CopyFile* file = task->file;
  if (task->kind == Kind::kOpen) return file->Open(task->path);
  if (task->kind == Kind::kClose) return file->Close(), SQLITE_OK;
  if (!file->is_open()) return SQLITE_MISUSE;
  switch (task->kind) {
    case Kind::kBegin:
      return file->Begin();
    case Kind::kAppend:
      return file->Append(task->pages, task->commit);
    case Kind::kRollback:
      return file->Rollback();
    case Kind::kCheckpoint:
      return file->Checkpoint();
    default:
      return file->Check();
  }
}

void Run(napi_env, void* data) {
  auto* task = static_cast<CopyTask*>(data);
  task->rc = RunTask(task);
}

void Free(napi_env env, CopyTask* task) {
  for (napi_ref held : task->held) {
    if (held != nullptr) napi_delete_reference(env, held);
  }
  if (task->work != nullptr) napi_delete_async_work(env, task->work);
  task->file->Release();
  delete task;
}

napi_value ResultOf(napi_env env, const CopyFile& file, bool busy) {
  napi_value problems = Array(env);
  for (const Text& problem : file.problems()) Push(env, problems, String(env, problem.span()));
  return Object(env)
      .Flag("busy", busy)
      .Flag("altered", file.is_altered())
      .Set("frames", static_cast<uint64_t>(file.frames()))
      .Set("pageSize", static_cast<uint64_t>(file.page_size()))
      .Set("problems", problems);
}

void Answer(napi_env env, napi_status, void* data) {
  auto* task = static_cast<CopyTask*>(data);
  const CopyFile& file = *task->file;
  const bool busy = (task->rc & 0xff) == SQLITE_BUSY;
  if (task->rc == SQLITE_OK || busy) {
    napi_resolve_deferred(env, task->deferred, ResultOf(env, file, busy));
  } else {
    napi_value error = nullptr;
    const char* message = file.message().empty() ? "the file is closed" : file.message().c_str();
    napi_create_error(env, String(env, "SQLITE"), String(env, message), &error);
    napi_reject_deferred(env, task->deferred, error);
  }
  Free(env, task);
}

CopyFile* CopyOf(const Call& call) {
  void* file = nullptr;
  napi_get_value_external(call.env, call.at(0), &file);
  return static_cast<CopyFile*>(file);
}

// Null with an exception pending.
CopyTask* NewTask(Call* call, CopyTask::Kind kind) {
  CopyFile* file = CopyOf(*call);
  if (file == nullptr) {
    Throw(call->env, "CLOSED", "there is no such file", "");
    return nullptr;
  }
  file->Retain();
  auto* task = new CopyTask;
  task->kind = kind;
  task->file = file;
  return task;
}

napi_value Start(napi_env env, CopyTask* task) {
  napi_value promise = nullptr;
  if (napi_create_promise(env, &task->deferred, &promise) == napi_ok &&
      napi_create_async_work(env, nullptr, String(env, "mergelite"), Run, Answer, task,
                             &task->work) == napi_ok &&
      napi_queue_async_work(env, task->work) == napi_ok) {
    return promise;
  }
  Free(env, task);
  Throw(env, "SQLITE", "no thread could be had", "");
  return nullptr;
}

template <CopyTask::Kind kKind>
napi_value Simple(napi_env env, napi_callback_info info) {
  Call call(env, info);
  CopyTask* task = NewTask(&call, kKind);
  return task == nullptr ? nullptr : Start(env, task);
}

napi_value OpenCopy(napi_env env, napi_callback_info info) {
  Call call(env, info);
  CopyTask* task = NewTask(&call, CopyTask::Kind::kOpen);
  if (task == nullptr) return nullptr;
  task->path = call.String(1);
  return Start(env, task);
}

// appendCopy(copy, pageSize, numbers, pages, commit)
napi_value AppendCopy(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const uint64_t page_size = call.Integer(1);
  void *numbers = nullptr, *data = nullptr;
  size_t count = 0, size = 0;
  napi_typedarray_type type = napi_int8_array, wanted = napi_uint32_array;
  const bool has_numbers = napi_get_typedarray_info(env, call.at(2), &type, &count, &numbers,
                                                    nullptr, nullptr) == napi_ok &&
                           type == wanted;
  wanted = napi_uint8_array;
  const bool has_data =
      napi_get_typedarray_info(env, call.at(3), &type, &size, &data, nullptr, nullptr) == napi_ok &&
      type == wanted;
  if (!has_numbers || !has_data || !IsPageSize(page_size) || count == 0 ||
      size / page_size < count) {
    Throw(env, "INVALID_OPTION", "pages and their numbers do not fit together", "");
    return nullptr;
  }
  CopyTask* task = NewTask(&call, CopyTask::Kind::kAppend);
  if (task == nullptr) return nullptr;
  task->pages.page_size = page_size;
  task->pages.count = count;
  task->pages.numbers = static_cast<uint32_t*>(numbers);
  task->pages.data = static_cast<uint8_t*>(data);
  task->commit = static_cast<uint32_t>(call.Integer(4));
  napi_create_reference(env, call.at(2), 1, &task->held[0]);
  napi_create_reference(env, call.at(3), 1, &task->held[1]);
  return Start(env, task);
}

void ReleaseCopy(napi_env, void* data, void*) { static_cast<CopyFile*>(data)->Release(); }

napi_value NewCopy(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  CopyFile* file = CopyFile::New(connection);
  if (file == nullptr) {
    Throw(env, "SQLITE", "this SQLite was compiled without threads", "Use better-sqlite3's own.");
    return nullptr;
  }
  napi_value external = nullptr;
  if (napi_create_external(env, file, ReleaseCopy, nullptr, &external) != napi_ok) file->Release();
  return external;
}

}  // namespace

void AddCopyFunctions(napi_env env, napi_value exports) {
  using Kind = CopyTask::Kind;
  Export(env, exports,
         {
             {"newCopy", NewCopy},
             {"openCopy", OpenCopy},
             {"beginCopy", Simple<Kind::kBegin>},
             {"appendCopy", AppendCopy},
             {"rollbackCopy", Simple<Kind::kRollback>},
             {"checkpointCopy", Simple<Kind::kCheckpoint>},
             {"checkCopy", Simple<Kind::kCheck>},
             {"closeCopy", Simple<Kind::kClose>},
         });
}

}  // namespace mergelite
