#include "addon_copy.h"

#include "addon_task.h"
#include "connection.h"
#include "copy_file.h"

namespace mergelite {
namespace {

// One call. The caller makes the next one when this one has been answered.
class CopyTask : public Task<CopyTask> {
 public:
  enum class Kind { kOpen, kBegin, kAppend, kRollback, kCheckpoint, kCheck, kClose };

  CopyTask(CopyFile* file, Kind kind) : file_(file), kind_(kind) { file->Retain(); }
  ~CopyTask() { file_->Release(); }

  void Run() { rc_ = Operate(); }
  const char* failure() const;
  napi_value Answer(napi_env env) const;

  Text path;
  LtxPages pages;
  uint32_t commit = 0;

 private:
  bool busy() const { return (rc_ & 0xff) == SQLITE_BUSY; }
  int Operate();

  CopyFile* file_;
  Kind kind_;
  int rc_ = SQLITE_OK;
};

int CopyTask::Operate() {
  if (kind_ == Kind::kOpen) return file_->Open(path);
  if (kind_ == Kind::kClose) return file_->Close(), SQLITE_OK;
  if (!file_->is_open()) return SQLITE_MISUSE;
  switch (kind_) {
    case Kind::kBegin:
      return file_->Begin();
    case Kind::kAppend:
      return file_->Append(pages, commit);
    case Kind::kRollback:
      return file_->Rollback();
    case Kind::kCheckpoint:
      return file_->Checkpoint();
    default:
      return file_->Check();
  }
}

const char* CopyTask::failure() const {
  if (rc_ == SQLITE_OK || busy()) return nullptr;
  return file_->message().empty() ? "the file is closed" : file_->message().c_str();
}

napi_value CopyTask::Answer(napi_env env) const {
  napi_value problems = Array(env);
  for (const Text& problem : file_->problems()) Push(env, problems, String(env, problem.span()));
  return Object(env)
      .Flag("busy", busy())
      .Flag("altered", file_->is_altered())
      .Set("frames", static_cast<uint64_t>(file_->frames()))
      .Set("pageSize", static_cast<uint64_t>(file_->page_size()))
      .Set("problems", problems);
}

// Null with an exception pending.
CopyTask* NewTask(const Call& call, CopyTask::Kind kind) {
  auto* file = ExternalOf<CopyFile>(call, 0);
  if (file != nullptr) return new CopyTask(file, kind);
  Throw(call.env, "CLOSED", "there is no such file", "");
  return nullptr;
}

template <CopyTask::Kind kKind>
napi_value Simple(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  CopyTask* task = NewTask(call, kKind);
  return task == nullptr ? nullptr : CopyTask::Start(env, task);
}

napi_value OpenCopy(napi_env env, napi_callback_info info) {
  Call call(env, info);
  CopyTask* task = NewTask(call, CopyTask::Kind::kOpen);
  if (task == nullptr) return nullptr;
  task->path = call.String(1);
  return CopyTask::Start(env, task);
}

// appendCopy(copy, pageSize, numbers, pages, commit)
napi_value AppendCopy(napi_env env, napi_callback_info info) {
  Call call(env, info);
  const uint64_t page_size = call.Integer(1);
  const auto numbers = call.Typed<uint32_t>(2);
  const auto data = call.Typed<uint8_t>(3);
  if (!IsPageSize(page_size) || numbers.count == 0 || data.count / page_size < numbers.count) {
    Throw(env, "INVALID_OPTION", "pages and their numbers do not fit together", "");
    return nullptr;
  }
  CopyTask* task = NewTask(call, CopyTask::Kind::kAppend);
  if (task == nullptr) return nullptr;
  task->pages.page_size = page_size;
  task->pages.count = numbers.count;
  task->pages.numbers = numbers.data;
  task->pages.data = data.data;
  task->commit = static_cast<uint32_t>(call.Integer(4));
  task->Hold(env, call.at(2));
  task->Hold(env, call.at(3));
  return CopyTask::Start(env, task);
}

napi_value NewCopy(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  CopyFile* file = CopyFile::New(connection);
  if (file != nullptr) return External(env, file);
  Throw(env, "SQLITE", "this SQLite was compiled without threads", "Use better-sqlite3's own.");
  return nullptr;
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
