// Calls of SQLite's functions: each wrapper asks whether it is its turn to fail.
#include "faults.h"

#include <cstdarg>

namespace mergelite {
namespace faults {

Plan g_plan;

bool Due(Kind kind, const char* function, const char* detail) {
  if (g_plan.kind != kind) return false;
  g_plan.seen++;
  const bool due = g_plan.seen == g_plan.at || (g_plan.sticky && g_plan.seen > g_plan.at);
  if (!due || g_plan.at == 0) return false;
  if (g_plan.fired++ == 0) {
    Text what(function);
    what << " " << (detail == nullptr ? "" : detail);
    const size_t size = what.size() < sizeof g_plan.what - 1 ? what.size() : sizeof g_plan.what - 1;
    memcpy(g_plan.what, what.c_str(), size);
    g_plan.what[size] = 0;
  }
  return true;
}

namespace {

const Api* g_real = nullptr;
Api g_api;

bool Fails(const char* function, const char* detail = nullptr) {
  g_plan.fresh = Due(Kind::kCall, function, detail);
  return g_plan.fresh;
}
// For functions that fail only when there is no memory.
bool FailsOfMemory(const char* function) { return g_plan.code == SQLITE_NOMEM && Fails(function); }

// SQLite's own way of giving up, with the rollbacks it does for a user's interrupt. It forgets an
// interrupt when no statement runs, so one does.
template <class Work>
int Interrupted(sqlite3* db, const char* function, const char* detail, Work work) {
  if (!Due(Kind::kInterrupt, function, detail)) return work();
  sqlite3_stmt* running = nullptr;
  g_real->prepare_v2(db, "VALUES (1), (2)", -1, &running, nullptr);
  g_real->step(running);
  g_real->interruptx(db);
  const int rc = work();
  g_real->finalize(running);
  return rc;
}

int Step(sqlite3_stmt* statement) {
  const char* sql = g_real->sql(statement);
  if (Fails("step", sql)) return g_plan.code;
  return Interrupted(g_real->db_handle(statement), "step", sql,
                     [&] { return g_real->step(statement); });
}
int Execute(sqlite3* db, const char* sql, sqlite3_callback callback, void* context, char** error) {
  if (Fails("exec", sql)) return g_plan.code;
  return Interrupted(db, "exec", sql,
                     [&] { return g_real->exec(db, sql, callback, context, error); });
}
int Prepare(sqlite3* db, const char* sql, int size, unsigned flags, sqlite3_stmt** statement,
            const char** tail) {
  *statement = nullptr;
  if (Fails("prepare", sql)) return g_plan.code;
  return g_real->prepare_v3(db, sql, size, flags, statement, tail);
}
int Reset(sqlite3_stmt* statement) {
  const int rc = g_real->reset(statement);
  const bool fresh = g_plan.fresh;
  if (rc == SQLITE_OK && Fails("reset", g_real->sql(statement))) return g_plan.code;
  // After a step that failed by us, what SQLite would tell is still that failure.
  g_plan.fresh = fresh;
  return rc;
}

int BindInteger(sqlite3_stmt* statement, int index, sqlite3_int64 value) {
  return FailsOfMemory("bind_int64") ? SQLITE_NOMEM : g_real->bind_int64(statement, index, value);
}
int BindReal(sqlite3_stmt* statement, int index, double value) {
  return FailsOfMemory("bind_double") ? SQLITE_NOMEM : g_real->bind_double(statement, index, value);
}
int BindNull(sqlite3_stmt* statement, int index) {
  return FailsOfMemory("bind_null") ? SQLITE_NOMEM : g_real->bind_null(statement, index);
}
int BindPointer(sqlite3_stmt* statement, int index, void* pointer, const char* type,
                void (*destroy)(void*)) {
  if (FailsOfMemory("bind_pointer")) return SQLITE_NOMEM;
  return g_real->bind_pointer(statement, index, pointer, type, destroy);
}
int BindZeros(sqlite3_stmt* statement, int index, int size) {
  if (FailsOfMemory("bind_zeroblob")) return SQLITE_NOMEM;
  return g_real->bind_zeroblob(statement, index, size);
}
int BindBlob(sqlite3_stmt* statement, int index, const void* data, sqlite3_uint64 size,
             void (*destroy)(void*)) {
  if (FailsOfMemory("bind_blob64")) return SQLITE_NOMEM;
  return g_real->bind_blob64(statement, index, data, size, destroy);
}
int BindText(sqlite3_stmt* statement, int index, const char* data, sqlite3_uint64 size,
             void (*destroy)(void*), unsigned char encoding) {
  if (FailsOfMemory("bind_text64")) return SQLITE_NOMEM;
  return g_real->bind_text64(statement, index, data, size, destroy, encoding);
}

const unsigned char* ColumnText(sqlite3_stmt* statement, int column) {
  return FailsOfMemory("column_text") ? nullptr : g_real->column_text(statement, column);
}
const void* ColumnBlob(sqlite3_stmt* statement, int column) {
  return FailsOfMemory("column_blob") ? nullptr : g_real->column_blob(statement, column);
}
const unsigned char* ValueText(sqlite3_value* value) {
  return FailsOfMemory("value_text") ? nullptr : g_real->value_text(value);
}
const void* ValueBlob(sqlite3_value* value) {
  return FailsOfMemory("value_blob") ? nullptr : g_real->value_blob(value);
}
void ResultText(sqlite3_context* context, const char* text, sqlite3_uint64 size,
                void (*destroy)(void*), unsigned char encoding) {
  if (FailsOfMemory("result_text64")) return g_real->result_error_nomem(context);
  g_real->result_text64(context, text, size, destroy, encoding);
}
void ResultBlob(sqlite3_context* context, const void* blob, sqlite3_uint64 size,
                void (*destroy)(void*)) {
  if (FailsOfMemory("result_blob64")) return g_real->result_error_nomem(context);
  g_real->result_blob64(context, blob, size, destroy);
}
void ResultError(sqlite3_context* context, const char* message, int size) {
  if (FailsOfMemory("result_error")) return g_real->result_error_nomem(context);
  g_real->result_error(context, message, size);
}

char* Print(const char* format, ...) {
  if (FailsOfMemory("mprintf")) return nullptr;
  va_list arguments;
  va_start(arguments, format);
  char* text = g_real->vmprintf(format, arguments);
  va_end(arguments);
  return text;
}

int CreateModule(sqlite3* db, const char* name, const sqlite3_module* module, void* context,
                 void (*destroy)(void*)) {
  if (!FailsOfMemory("create_module_v2")) {
    return g_real->create_module_v2(db, name, module, context, destroy);
  }
  if (destroy != nullptr) destroy(context);
  return SQLITE_NOMEM;
}
int CreateFunction(sqlite3* db, const char* name, int parameters, int flags, void* context,
                   void (*function)(sqlite3_context*, int, sqlite3_value**),
                   void (*step)(sqlite3_context*, int, sqlite3_value**),
                   void (*final)(sqlite3_context*), void (*destroy)(void*)) {
  if (FailsOfMemory("create_function_v2")) return SQLITE_NOMEM;
  return g_real->create_function_v2(db, name, parameters, flags, context, function, step, final,
                                    destroy);
}
int SetClientData(sqlite3* db, const char* name, void* data, void (*destroy)(void*)) {
  if (FailsOfMemory("set_clientdata")) return SQLITE_NOMEM;
  return g_real->set_clientdata(db, name, data, destroy);
}
int DeclareTable(sqlite3* db, const char* sql) {
  return Fails("declare_vtab", sql) ? g_plan.code : g_real->declare_vtab(db, sql);
}
int FileControl(sqlite3* db, const char* schema, int what, void* argument) {
  return Fails("file_control") ? g_plan.code : g_real->file_control(db, schema, what, argument);
}
int Checkpoint(sqlite3* db, const char* schema, int mode, int* frames, int* done) {
  if (Fails("wal_checkpoint_v2")) return g_plan.code;
  return g_real->wal_checkpoint_v2(db, schema, mode, frames, done);
}
const char* Message(sqlite3* db) {
  return g_plan.fresh ? g_real->errstr(g_plan.code) : g_real->errmsg(db);
}
int ExtendedCode(sqlite3* db) { return g_plan.fresh ? g_plan.code : g_real->extended_errcode(db); }

void Arm(sqlite3_context*, int, sqlite3_value** argv) {
  const auto* kind = reinterpret_cast<const char*>(g_real->value_text(argv[0]));
  g_plan = {};
  g_plan.kind = *kind == 'c' ? Kind::kCall : *kind == 'i' ? Kind::kInterrupt : Kind::kFile;
  g_plan.at = g_real->value_int64(argv[1]);
  g_plan.code = g_real->value_int(argv[2]);
  g_plan.sticky = g_real->value_int(argv[3]) != 0;
}
void Report(sqlite3_context* context, int, sqlite3_value**) {
  g_plan.kind = Kind::kNone;
  g_plan.fresh = false;
  Text text;
  text << static_cast<uint64_t>(g_plan.seen) << " " << static_cast<uint64_t>(g_plan.fired) << " ";
  text << g_plan.what;
  g_real->result_text64(context, text.c_str(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

void WrapStatements() {
  g_api.step = Step;
  g_api.exec = Execute;
  g_api.prepare_v3 = Prepare;
  g_api.reset = Reset;
  g_api.bind_int64 = BindInteger;
  g_api.bind_double = BindReal;
  g_api.bind_null = BindNull;
  g_api.bind_pointer = BindPointer;
  g_api.bind_zeroblob = BindZeros;
  g_api.bind_blob64 = BindBlob;
  g_api.bind_text64 = BindText;
  g_api.column_text = ColumnText;
  g_api.column_blob = ColumnBlob;
}
void WrapTheRest() {
  g_api.value_text = ValueText;
  g_api.value_blob = ValueBlob;
  g_api.result_text64 = ResultText;
  g_api.result_blob64 = ResultBlob;
  g_api.result_error = ResultError;
  g_api.mprintf = Print;
  g_api.create_module_v2 = CreateModule;
  g_api.create_function_v2 = CreateFunction;
  g_api.set_clientdata = SetClientData;
  g_api.declare_vtab = DeclareTable;
  g_api.file_control = FileControl;
  g_api.wal_checkpoint_v2 = Checkpoint;
  g_api.errmsg = Message;
  g_api.extended_errcode = ExtendedCode;
}

}  // namespace
}  // namespace faults

const Api* WithFaults(sqlite3* db, const Api* real) {
  using namespace faults;
  if (g_real == nullptr) {
    g_real = real;
    g_api = *real;
    WrapStatements();
    WrapTheRest();
    RegisterFaultyFiles(real);
  }
  real->create_function_v2(db, "mergelite_fault", 4, SQLITE_UTF8, nullptr, Arm, nullptr, nullptr,
                           nullptr);
  real->create_function_v2(db, "mergelite_fault_report", 0, SQLITE_UTF8, nullptr, Report, nullptr,
                           nullptr, nullptr);
  return &g_api;
}

}  // namespace mergelite
