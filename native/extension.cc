// The SQLite door: what `loadExtension` calls.
#include <atomic>

#include "connection.h"
#include "ids.h"
#include "merge.h"
#include "patches_table.h"
#include "schema_watch.h"
#if defined(MERGELITE_FAULTS)
#include "faults/faults.h"
#endif

#if defined(_WIN32)
#define MERGELITE_EXPORT extern "C" __declspec(dllexport)
#else
#define MERGELITE_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace mergelite {
namespace {

// Up to 3.51.2 a checkpoint beside a writer can corrupt a WAL database (sqlite.org, "WAL-reset
// bug").
constexpr int kOldestSqlite = 3051003;
constexpr const char* kClientData = "mergelite";

// A scalar function is told nothing but a context, and even to read its user data it needs the
// function table. So each SQLite library in the process has a slot, and each slot its own
// functions.
constexpr int kSlots = 8;
std::atomic<const Api*> g_api[kSlots];

// Identifiers for `DEFAULT (mergelite_id())`: 30 bits of seconds since 2025, 6 that count, 17 of a
// lane the connection drew at random. Ids of one lane never repeat; a lane that runs ahead of the
// clock is left for a new one.
class IdGenerator {
 public:
  int64_t Next(Connection* connection) {
    const int64_t now = (connection->NowMs() - kEpochMs) / 1000;
    if (lane_ < 0 || second_ > now + kSecondsAheadMax) {
      lane_ = static_cast<int64_t>(connection->Randomness() & ((1 << kIdLaneBits) - 1));
      second_ = 0;
    }
    if (now > second_) {
      second_ = now;
      count_ = 0;
    } else if (++count_ == 1 << kIdCountBits) {
      second_++;
      count_ = 0;
    }
    return (second_ << kIdCountBits | count_) << kIdLaneBits | lane_;
  }

 private:
  static constexpr int64_t kSecondsAheadMax = 60;
  int64_t second_ = 0, count_ = 0, lane_ = -1;
};

struct Extension {
  Connection connection;
  SchemaWatch schema_watch;
  IdGenerator ids;
};

// What is written now is not the application's: it was written before, here or elsewhere.
bool IsAside(const Connection& connection) { return connection.merging || connection.migrating; }

// A call of a trigger; false when it failed.
bool Record(Connection* connection, sqlite3_context* context, int argc, sqlite3_value** argv) {
  if (connection->merging) return true;
  if (connection->capture.Record(connection, argc, argv) == SQLITE_OK) return true;
  const Error& error = connection->error;
  Text message(error.code);
  message << ": " << error.message;
  if (!error.hint.empty()) message << ". " << error.hint;
  connection->api->result_error(context, message.c_str(), -1);
  return false;
}

template <int Slot>
struct Functions {
  static const Api* api() { return g_api[Slot].load(std::memory_order_relaxed); }
  static Extension* Of(sqlite3_context* context) {
    return static_cast<Extension*>(api()->user_data(context));
  }

  static void Capture(sqlite3_context* context, int argc, sqlite3_value** argv) {
    Record(&Of(context)->connection, context, argc, argv);
  }
  // A call of a scalar function makes SQLite expect the statement to abort, which costs a statement
  // journal; that of an aggregate does not. An insert has the journal anyway, for its constraints.
  static void CaptureRow(sqlite3_context* context, int argc, sqlite3_value** argv) {
    Connection* connection = &Of(context)->connection;
    // When this fails, SQLite need not undo the statement's rows.
    if (!Record(connection, context, argc, argv)) connection->capture.Poison();
  }
  static void CaptureRowEnd(sqlite3_context*) {}
  static void Handle(sqlite3_context* context, int, sqlite3_value**) {
    api()->result_int(context, Of(context)->connection.handle);
  }
  static void Merging(sqlite3_context* context, int, sqlite3_value**) {
    api()->result_int(context, IsAside(Of(context)->connection) ? 1 : 0);
  }
  static void Id(sqlite3_context* context, int, sqlite3_value**) {
    Extension* extension = Of(context);
    api()->result_int64(context, extension->ids.Next(&extension->connection));
  }

  // Of two encoded row clocks, what both say.
  static void JoinClocks(sqlite3_context* context, int, sqlite3_value** argv) {
    Span clocks[2];
    for (int i = 0; i < 2; i++) {
      const auto* data = static_cast<const uint8_t*>(api()->value_blob(argv[i]));
      if (data == nullptr) return api()->result_error_nomem(context);
      clocks[i] = {data, static_cast<size_t>(api()->value_bytes(argv[i]))};
    }
    const Span joined = JoinEncodedClocks(&Of(context)->connection, clocks[0], clocks[1]);
    api()->result_blob64(context, joined.data, joined.size, SQLITE_TRANSIENT);
  }

  static int Register(sqlite3* db, Extension* extension, bool there) {
    struct {
      const char* name;
      int parameters;
      int flags;
      void (*function)(sqlite3_context*, int, sqlite3_value**);
      void (*final)(sqlite3_context*);  // of an aggregate
    } const functions[] = {
        {"mergelite_capture", -1, SQLITE_INNOCUOUS, Capture, nullptr},
        {"mergelite_capture_row", -1, SQLITE_INNOCUOUS, CaptureRow, CaptureRowEnd},
        {"mergelite_handle", 0, SQLITE_DIRECTONLY, Handle, nullptr},
        {"mergelite_merging", 0, SQLITE_INNOCUOUS, Merging, nullptr},
        {"mergelite_id", 0, SQLITE_INNOCUOUS, Id, nullptr},
        {"mergelite_join_clocks", 2, SQLITE_DIRECTONLY, JoinClocks, nullptr},
    };
    for (const auto& entry : functions) {
      const auto function = there ? entry.function : nullptr;
      const bool aggregate = entry.final != nullptr;
      const int rc = api()->create_function_v2(
          db, entry.name, entry.parameters, SQLITE_UTF8 | entry.flags, extension,
          aggregate ? nullptr : function, aggregate ? function : nullptr,
          there ? entry.final : nullptr, nullptr);
      if (rc != SQLITE_OK) return rc;
    }
    return SQLITE_OK;
  }
};

using Register = int (*)(sqlite3*, Extension*, bool);
constexpr Register kRegister[kSlots] = {
    Functions<0>::Register, Functions<1>::Register, Functions<2>::Register, Functions<3>::Register,
    Functions<4>::Register, Functions<5>::Register, Functions<6>::Register, Functions<7>::Register};

// --- mergelite_closer: an eponymous table whose only use is that sqlite3_close() disconnects it
// before it looks for unfinalized statements.

struct CloserTable {
  sqlite3_vtab base;
  Extension* extension;
};
int CloserConnect(sqlite3* db, void* context, int, const char* const*, sqlite3_vtab** out, char**) {
  auto* extension = static_cast<Extension*>(context);
  const int rc = extension->connection.api->declare_vtab(db, "CREATE TABLE x (x)");
  if (rc != SQLITE_OK) return rc;
  auto* table = new CloserTable{};
  table->extension = extension;
  *out = &table->base;
  return SQLITE_OK;
}
int CloserDisconnect(sqlite3_vtab* base) {
  auto* table = reinterpret_cast<CloserTable*>(base);
  table->extension->connection.Finalize();
  delete table;
  return SQLITE_OK;
}
int CloserBestIndex(sqlite3_vtab*, sqlite3_index_info*) { return SQLITE_OK; }
int CloserOpen(sqlite3_vtab*, sqlite3_vtab_cursor**) { return SQLITE_ERROR; }

constexpr sqlite3_module MakeCloserModule() {
  sqlite3_module module{};
  module.iVersion = 1;
  module.xConnect = CloserConnect;
  module.xBestIndex = CloserBestIndex;
  module.xDisconnect = CloserDisconnect;
  module.xDestroy = CloserDisconnect;
  module.xOpen = CloserOpen;
  return module;
}
constexpr sqlite3_module kCloserModule = MakeCloserModule();

void DestroyExtension(void* context) {
  auto* extension = static_cast<Extension*>(context);
  UnregisterConnection(extension->connection.handle);
  delete extension;
}

// Makes functions and modules known, or with `there` false unknown.
int Announce(Extension* extension, int slot, bool there) {
  Connection* connection = &extension->connection;
  int rc = kRegister[slot](connection->db, extension, there);
  if (rc == SQLITE_OK) rc = RegisterCaptureTables(connection, there);
  if (rc == SQLITE_OK) rc = RegisterFeedTables(connection, there);
  if (rc == SQLITE_OK) rc = RegisterPatchesTable(connection, there);
  return rc;
}

int ConnectCloser(Connection* connection) {
  Statement compile;
  return compile.Prepare(connection->api, connection->db, "SELECT 1 FROM mergelite_closer");
}

int RegisterAll(sqlite3* db, const Api* api, int slot) {
  auto* extension = new Extension;
  extension->connection.api = api;
  extension->connection.db = db;
  extension->connection.handle = RegisterConnection(&extension->connection);
  // From here on SQLite owns it. It frees modules last, when no statement can call us any more.
  int rc =
      api->create_module_v2(db, "mergelite_closer", &kCloserModule, extension, DestroyExtension);
  if (rc != SQLITE_OK) return rc;
  rc = Announce(extension, slot, true);
  if (rc == SQLITE_OK) rc = ConnectCloser(&extension->connection);
  if (rc == SQLITE_OK) rc = api->set_clientdata(db, kClientData, extension, nullptr);
  if (rc == SQLITE_OK) rc = extension->schema_watch.Start(&extension->connection);
  if (rc == SQLITE_OK) return rc;
  // SQLite unloads a library that fails: it must not be called any more, and may be loaded again.
  api->set_clientdata(db, kClientData, nullptr, nullptr);
  Announce(extension, slot, false);
  api->create_module_v2(db, "mergelite_closer", nullptr, nullptr, nullptr);
  return rc;
}

int Init(sqlite3* db, char** error, const Api* api) {
#if defined(MERGELITE_FAULTS)
  api = WithFaults(db, api);
#endif
  if (api->libversion_number() < kOldestSqlite) {
    *error = api->mprintf(
        "mergelite needs SQLite 3.51.3 or newer, this is %s: older ones can corrupt WAL databases",
        api->libversion());
    return SQLITE_ERROR;
  }
  if (api->get_clientdata(db, kClientData) != nullptr) return SQLITE_OK_LOAD_PERMANENTLY;
  for (int slot = 0; slot < kSlots; slot++) {
    const Api* seen = nullptr;
    if (!g_api[slot].compare_exchange_strong(seen, api) && seen != api) continue;
    const int rc = RegisterAll(db, api, slot);
    // The library stays loaded: worker threads end before their connections are collected.
    return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
  }
  *error = api->mprintf("mergelite: more than %d SQLite libraries in one process", kSlots);
  return SQLITE_ERROR;
}

}  // namespace
}  // namespace mergelite

// SQLite looks for this name first, whatever the file is called.
MERGELITE_EXPORT int sqlite3_extension_init(sqlite3* db, char** error,
                                            const sqlite3_api_routines* api) {
  return mergelite::Init(db, error, api);
}
MERGELITE_EXPORT int sqlite3_mergelite_init(sqlite3* db, char** error,
                                            const sqlite3_api_routines* api) {
  return mergelite::Init(db, error, api);
}
