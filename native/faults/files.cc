// The default VFS with failures before it: what SQLite itself does when a disk is full or broken,
// statement and transaction rolled back included, can only be seen when its own files fail.
#include "faults.h"

namespace mergelite {
namespace faults {
namespace {

sqlite3_vfs* g_vfs = nullptr;
sqlite3_vfs g_faulty;

struct File {
  sqlite3_file base;
  sqlite3_file* real;
  char name[24];  // the end of it
};
File* FileOf(sqlite3_file* file) { return reinterpret_cast<File*>(file); }
sqlite3_file* RealOf(sqlite3_file* file) { return FileOf(file)->real; }
const sqlite3_io_methods* MethodsOf(sqlite3_file* file) { return RealOf(file)->pMethods; }

// Whether this operation fails now: it can end in `code`, or the plan's code is a variant of it.
bool Fails(sqlite3_file* file, const char* operation, int code) {
  if ((g_plan.code & 0xff) != code) return false;
  return Due(Kind::kFile, operation, FileOf(file)->name);
}
bool Breaks(sqlite3_file* file, const char* operation) {
  return Fails(file, operation, SQLITE_IOERR);
}

int Close(sqlite3_file* file) { return MethodsOf(file)->xClose(RealOf(file)); }
int Read(sqlite3_file* file, void* data, int size, sqlite3_int64 offset) {
  if (Breaks(file, "read")) return SQLITE_IOERR_READ;
  return MethodsOf(file)->xRead(RealOf(file), data, size, offset);
}
int Write(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
  if (Breaks(file, "write")) return SQLITE_IOERR_WRITE;
  if (Fails(file, "write", SQLITE_FULL)) return SQLITE_FULL;
  return MethodsOf(file)->xWrite(RealOf(file), data, size, offset);
}
int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  if (Breaks(file, "truncate")) return SQLITE_IOERR_TRUNCATE;
  return MethodsOf(file)->xTruncate(RealOf(file), size);
}
int Sync(sqlite3_file* file, int flags) {
  if (Breaks(file, "sync")) return SQLITE_IOERR_FSYNC;
  return MethodsOf(file)->xSync(RealOf(file), flags);
}
int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  if (Breaks(file, "size")) return SQLITE_IOERR_FSTAT;
  return MethodsOf(file)->xFileSize(RealOf(file), size);
}
int Lock(sqlite3_file* file, int level) {
  if (Fails(file, "lock", SQLITE_BUSY)) return SQLITE_BUSY;
  return MethodsOf(file)->xLock(RealOf(file), level);
}
int Unlock(sqlite3_file* file, int level) { return MethodsOf(file)->xUnlock(RealOf(file), level); }
int CheckReserved(sqlite3_file* file, int* result) {
  return MethodsOf(file)->xCheckReservedLock(RealOf(file), result);
}
int Control(sqlite3_file* file, int what, void* argument) {
  return MethodsOf(file)->xFileControl(RealOf(file), what, argument);
}
int SectorSize(sqlite3_file* file) { return MethodsOf(file)->xSectorSize(RealOf(file)); }
int Characteristics(sqlite3_file* file) {
  return MethodsOf(file)->xDeviceCharacteristics(RealOf(file));
}
int ShmMap(sqlite3_file* file, int region, int size, int extend, void volatile** memory) {
  if (Breaks(file, "shm map")) return SQLITE_IOERR_SHMMAP;
  return MethodsOf(file)->xShmMap(RealOf(file), region, size, extend, memory);
}
int ShmLock(sqlite3_file* file, int offset, int count, int flags) {
  const bool takes = (flags & SQLITE_SHM_LOCK) != 0;
  if (takes && Fails(file, "shm lock", SQLITE_BUSY)) return SQLITE_BUSY;
  return MethodsOf(file)->xShmLock(RealOf(file), offset, count, flags);
}
void ShmBarrier(sqlite3_file* file) { MethodsOf(file)->xShmBarrier(RealOf(file)); }
int ShmUnmap(sqlite3_file* file, int remove) {
  return MethodsOf(file)->xShmUnmap(RealOf(file), remove);
}

constexpr sqlite3_io_methods MakeMethods() {
  sqlite3_io_methods methods{};
  methods.iVersion = 2;  // without memory-mapped files, whose reads nobody can make fail
  methods.xClose = Close;
  methods.xRead = Read;
  methods.xWrite = Write;
  methods.xTruncate = Truncate;
  methods.xSync = Sync;
  methods.xFileSize = FileSize;
  methods.xLock = Lock;
  methods.xUnlock = Unlock;
  methods.xCheckReservedLock = CheckReserved;
  methods.xFileControl = Control;
  methods.xSectorSize = SectorSize;
  methods.xDeviceCharacteristics = Characteristics;
  methods.xShmMap = ShmMap;
  methods.xShmLock = ShmLock;
  methods.xShmBarrier = ShmBarrier;
  methods.xShmUnmap = ShmUnmap;
  return methods;
}
constexpr sqlite3_io_methods g_methods = MakeMethods();

int Open(sqlite3_vfs*, const char* path, sqlite3_file* base, int flags, int* flags_out) {
  File* file = FileOf(base);
  file->base.pMethods = nullptr;
  file->real = reinterpret_cast<sqlite3_file*>(file + 1);
  const size_t size = path == nullptr ? 0 : strlen(path);
  const size_t kept = size < sizeof file->name - 1 ? size : sizeof file->name - 1;
  if (kept > 0) memcpy(file->name, path + size - kept, kept);
  file->name[kept] = 0;
  if (Breaks(base, "open")) return SQLITE_CANTOPEN;
  const int rc = g_vfs->xOpen(g_vfs, path, file->real, flags, flags_out);
  if (file->real->pMethods != nullptr) file->base.pMethods = &g_methods;
  return rc;
}

}  // namespace

void RegisterFaultyFiles(const Api* real) {
  g_vfs = real->vfs_find(nullptr);
  g_faulty = *g_vfs;
  g_faulty.zName = "mergelite-faulty";
  g_faulty.szOsFile = static_cast<int>(sizeof(File)) + g_vfs->szOsFile;
  g_faulty.pNext = nullptr;
  g_faulty.xOpen = Open;
  real->vfs_register(&g_faulty, 1);
}

}  // namespace faults
}  // namespace mergelite
