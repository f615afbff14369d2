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
  static int Authorize(void* context, int action, const char*, const char*, const char*,
                       const char*);
  static int AfterCommit(void* context, sqlite3* db, const char* schema, int frames);
  void Renew();

  Connection* connection_ = nullptr;
  bool touched_ = false;
};

}  // namespace mergelite
