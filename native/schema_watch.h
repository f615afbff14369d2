// Notices schema changes made through this connection, and brings capture up to date as soon as
// they are committed, before the next statement can write.
#pragma once
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
  bool IsVoid(const char* table, const char* schema, const char* trigger) const;
  void Renew();

  Connection* connection_ = nullptr;
};

}  // namespace mergelite
