// Notices schema changes made through this connection, and brings capture up to date as soon as
// they are committed, before the next statement can write.
#pragma once
#include <vector>

#include "sqlite_api.h"

namespace mergelite {

struct Connection;

class SchemaWatch {
 public:
  int Start(Connection* connection);

 private:
  static int Authorize(void* context, int action, const char* table, const char* column,
                       const char* schema, const char* trigger);
  static int BeforeCommit(void* context);
  static int AfterCommit(void* context, sqlite3* db, const char* schema, int frames);
  static int Follow(unsigned event, void* context, void* statement, void* detail);
  void Touched();
  bool IsNested() const;
  void DropCompiled(const char* table, const char* column);
  void BeforeStatement(sqlite3_stmt* statement);
  void AfterStatement();
  bool IsVoid(const char* table, const char* schema, const char* trigger) const;
  void Renew();

  struct Drop {
    Text table, column;
  };

  Connection* connection_ = nullptr;
  std::vector<Drop> drops_;  // compiled, and not run yet
  bool busy_ = false;        // what runs now is ours
  bool legacy_ = false;
  int legacy_before_ = 0;
};

}  // namespace mergelite
