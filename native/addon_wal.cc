#include "addon_wal.h"

#include "addon_task.h"
#include "wal_source.h"

namespace mergelite {
namespace {

// The order in which JavaScript holds it and gives it back; a place is the last five.
constexpr size_t kEndWords = 8, kPlaceWords = 5;

napi_value EndOf(napi_env env, const WalIndexHead& end) {
  const WalPlace& place = end.end;
  const uint32_t words[kEndWords] = {
      end.change,        end.page_size, end.pages,       place.salt.first,
      place.salt.second, place.frame,   place.sum.first, place.sum.second,
  };
  return TypedArray(env, words, kEndWords);
}

WalPlace PlaceFrom(const uint32_t* words) {
  return {{words[0], words[1]}, words[2], {words[3], words[4]}};
}

// One operation. Typed arrays belong to JavaScript, and are held until it has been answered.
class WalTask : public Task<WalTask> {
 public:
  enum class Kind { kOpen, kNext, kLetGo, kScan, kPages, kCheckpoint, kClose };

  WalTask(WalSource* source, Kind kind, int64_t flag) : source_(source), kind_(kind), flag_(flag) {
    source->Retain();
  }
  ~WalTask() { source_->Release(); }

  void Run() {
    source_->Enter();
    rc_ = Operate();
    source_->Leave();
  }
  const char* failure() const {
    return rc_ == SQLITE_OK || lost() ? nullptr : source_->message().c_str();
  }
  napi_value Answer(napi_env env) const;

  WalPlace place;
  WalIndexHead end;
  uint32_t before = 0;
  Elements<uint32_t> pages, frames;
  Elements<uint8_t> out;

 private:
  bool lost() const { return rc_ == SQLITE_ABORT; }
  int Operate();
  int Checkpoint();

  WalSource* source_;
  Kind kind_;
  int64_t flag_;
  int rc_ = SQLITE_OK;
  bool moved_ = false;
  WalScan scan_;
  Bytes data_;
};

int WalTask::Operate() {
  switch (kind_) {
    case Kind::kOpen:
      return source_->Open();
    case Kind::kNext:
      return source_->Next(flag_ != 0, &end);
    case Kind::kLetGo:
      return source_->LetGo(flag_ != 0);
    case Kind::kScan:
      return source_->Scan(place, end, before, &scan_);
    case Kind::kPages:
      return source_->Pages(place.salt, pages.data, frames.data, pages.count, flag_ != 0, out.data);
    case Kind::kCheckpoint:
      return Checkpoint();
    case Kind::kClose:
      source_->Close();
  }
  return SQLITE_OK;
}

int WalTask::Checkpoint() {
  WalSource::Carried carried;
  using Barrier = WalSource::Barrier;
  const Barrier barrier = flag_ == 0   ? Barrier::kNone
                          : flag_ == 1 ? Barrier::kEnd
                                       : Barrier::kWhole;
  const int rc = source_->Checkpoint(barrier, place, before, &moved_, &carried);
  if (!carried.is_there) return rc;
  end = carried.end;
  scan_ = static_cast<WalScan&&>(carried.scan);
  data_ = static_cast<Bytes&&>(carried.data);
  return rc;
}

napi_value WalTask::Answer(napi_env env) const {
  return Object(env)
      .Set("pageSize", static_cast<uint64_t>(source_->page_size()))
      .Set("end", EndOf(env, end))
      .Set("pages", TypedArray(env, scan_.pages.data(), scan_.pages.size()))
      .Set("frames", TypedArray(env, scan_.frames.data(), scan_.frames.size()))
      .Set("data", Buffer(env, data_.span()))
      .Set("commits", static_cast<uint64_t>(scan_.commits))
      .Set("size", static_cast<uint64_t>(scan_.size))
      .Flag("broken", scan_.broken || lost())
      .Flag("moved", moved_);
}

// A typed array of at least `least` elements; false, with an exception, for anything else.
template <class Element>
bool Take(Call* call, size_t index, size_t least, Elements<Element>* elements) {
  *elements = call->Typed<Element>(index);
  if (elements->data != nullptr && elements->count >= least) return true;
  Throw(call->env, "INVALID_OPTION", "an array is too short, or of another kind", "");
  return false;
}

bool TakePlace(Call* call, size_t index, WalPlace* place) {
  Elements<uint32_t> words;
  if (!Take(call, index, kPlaceWords, &words)) return false;
  *place = PlaceFrom(words.data);
  return true;
}

// Null with an exception pending.
WalTask* NewTask(Call* call, WalTask::Kind kind) {
  auto* source = ExternalOf<WalSource>(*call, 0);
  if (source != nullptr) return new WalTask(source, kind, call->Integer(1));
  Throw(call->env, "CLOSED", "there is no such WAL", "");
  return nullptr;
}

template <WalTask::Kind kKind>
napi_value Simple(napi_env env, napi_callback_info info) {
  Call call(env, info);
  WalTask* task = NewTask(&call, kKind);
  return task == nullptr ? nullptr : WalTask::Start(env, task);
}

// walCheckpoint(source, barrier, place, before)
napi_value StartCheckpoint(napi_env env, napi_callback_info info) {
  Call call(env, info);
  WalTask* task = NewTask(&call, WalTask::Kind::kCheckpoint);
  if (task == nullptr) return nullptr;
  if (!TakePlace(&call, 2, &task->place)) return delete task, nullptr;
  task->before = static_cast<uint32_t>(call.Integer(3));
  return WalTask::Start(env, task);
}

// walScan(source, before, place, end)
napi_value Scan(napi_env env, napi_callback_info info) {
  Call call(env, info);
  WalTask* task = NewTask(&call, WalTask::Kind::kScan);
  if (task == nullptr) return nullptr;
  Elements<uint32_t> end;
  if (!TakePlace(&call, 2, &task->place) || !Take(&call, 3, kEndWords, &end)) {
    return delete task, nullptr;
  }
  task->before = static_cast<uint32_t>(call.Integer(1));
  task->end.change = end.data[0];
  task->end.page_size = end.data[1];
  task->end.pages = end.data[2];
  task->end.end = PlaceFrom(end.data + 3);
  return WalTask::Start(env, task);
}

// walPages(source, whole, place, pages, frames, out)
napi_value Pages(napi_env env, napi_callback_info info) {
  Call call(env, info);
  WalTask* task = NewTask(&call, WalTask::Kind::kPages);
  if (task == nullptr) return nullptr;
  const size_t page_size = ExternalOf<WalSource>(call, 0)->page_size();
  if (!TakePlace(&call, 2, &task->place) || !Take(&call, 3, 1, &task->pages) ||
      !Take(&call, 4, task->pages.count, &task->frames) ||
      !Take(&call, 5, task->pages.count * page_size, &task->out)) {
    return delete task, nullptr;
  }
  for (size_t i = 3; i <= 5; i++) task->Hold(env, call.at(i));
  return WalTask::Start(env, task);
}

napi_value NewSource(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  if (connection == nullptr) return nullptr;
  WalSource* source = WalSource::New(connection);
  if (source != nullptr) return External(env, source);
  Throw(env, "SHIP_UNSUPPORTED", "the database is not a file that another thread can open",
        "Use a database in a file, and an SQLite that was compiled for threads.");
  return nullptr;
}

// walHasMoved(source)
napi_value HasMoved(napi_env env, napi_callback_info info) {
  Call call(env, info);
  auto* source = ExternalOf<WalSource>(call, 0);
  napi_value moved = nullptr;
  napi_get_boolean(env, source != nullptr && source->HasMoved(), &moved);
  return moved;
}

// Rung by the commits of one connection, once for all of them until the WAL is read: waking
// JavaScript costs a commit more than all else that is done for shipping.
struct ShipBell {
  napi_threadsafe_function function = nullptr;
  WalSource* source = nullptr;
  int handle = 0, frames_max = 0, frames_many = 0;
};

bool RingShip(void* context, int frames) {
  auto* bell = static_cast<ShipBell*>(context);
  if (bell->source->Note(frames, bell->frames_many)) {
    napi_call_threadsafe_function(bell->function, nullptr, napi_tsfn_nonblocking);
  }
  // JavaScript has not had its turn for so long: what it would read is read anew later.
  return frames >= bell->frames_max && bell->source->Abandon();
}

void HearShip(napi_env env, napi_value callback, void* context, void*) {
  if (env == nullptr) return;
  napi_value has_many = nullptr, result = nullptr;
  napi_get_boolean(env, static_cast<ShipBell*>(context)->source->has_many(), &has_many);
  napi_call_function(env, Undefined(env), callback, 1, &has_many, &result);
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

// walWatch(handle, source, framesMany, framesMax, callback)
napi_value Watch(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Connection* connection = call.Find();
  auto* source = ExternalOf<WalSource>(call, 1);
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
  bell->frames_many = static_cast<int>(call.Integer(2));
  bell->frames_max = static_cast<int>(call.Integer(3));
  if (napi_create_threadsafe_function(env, call.at(4), nullptr, String(env, "mergelite"), 0, 1,
                                      bell, FreeShip, bell, HearShip, &bell->function) != napi_ok) {
    FreeShip(env, bell, nullptr);
    Throw(env, "SQLITE", "commits cannot be listened to", "");
    return nullptr;
  }
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
  using Kind = WalTask::Kind;
  Export(env, exports,
         {
             {"walSource", NewSource},
             {"walOpen", Simple<Kind::kOpen>},
             {"walNext", Simple<Kind::kNext>},
             {"walLetGo", Simple<Kind::kLetGo>},
             {"walScan", Scan},
             {"walPages", Pages},
             {"walCheckpoint", StartCheckpoint},
             {"walClose", Simple<Kind::kClose>},
             {"walHasMoved", HasMoved},
             {"walWatch", Watch},
             {"walUnwatch", Unwatch},
         });
}

}  // namespace mergelite
