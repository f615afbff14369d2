// Making companions, which starts replication.
#include "connection.h"
#include "replication.h"

namespace mergelite {
namespace {

constexpr const char* kSuffix = "_patches";

// The name of a table's companion, and whether it has one.
int LookForCompanion(Connection* connection, const SchemaRows& schema, const Text& table,
                     Text* companion, bool* there) {
  *companion << table << kSuffix;
  *there = false;
  for (const SchemaRows::Row& row : schema.Of(companion->c_str())) {
    if (row.age < 0 || (row.kind != 't' && row.kind != 'v')) continue;
    *there = true;
    if (row.virtual_table) continue;
    Text message("there is a table ");
    message.Name(companion->c_str()) << ", which is not a companion mergelite made";
    return connection->Fail("COMPANION_NAME", message,
                            "Rename it: the companion of a replicated table needs this name.");
  }
  return SQLITE_OK;
}

// What is left of a table that meant other rows, or was dropped, goes.
int MakeCompanion(Connection* connection, const Text& table, const Text& companion, bool there) {
  Text sql("DROP TABLE main.");
  int rc = there ? connection->Execute(sql.Name(companion.c_str()).c_str()) : SQLITE_OK;
  if (rc != SQLITE_OK) return rc;
  Text create("CREATE VIRTUAL TABLE IF NOT EXISTS main.");
  create.Name(companion.c_str()) << " USING mergelite(";
  return connection->Execute((create.Name(table.c_str()) << ")").c_str());
}

struct Wanted {
  const Text& table;
  Text companion;
  bool there;
};

int MakeTogether(Connection* connection, const std::vector<Wanted>& wanted, Starting* starting) {
  connection->starting = starting;
  int rc = SQLITE_OK;
  for (size_t i = 0; rc == SQLITE_OK && i < wanted.size(); i++) {
    const Wanted& one = wanted[i];
    rc = MakeCompanion(connection, one.table, one.companion, one.there);
  }
  connection->starting = nullptr;
  const OwnSchemaChange own(connection);
  return rc == SQLITE_OK ? LogAdopted(connection, starting->adopted) : rc;
}

}  // namespace

int Replicate(Connection* connection, const std::vector<Text>& tables) {
  const KeepRowid keep(connection);
  int rc = connection->catalog.Refresh(connection);
  Starting starting;
  if (rc == SQLITE_OK) {
    Text companion;
    if (tables.size() == 1) companion << tables[0] << kSuffix;
    rc = starting.schema.Read(connection, tables.size() == 1 ? companion.c_str() : nullptr);
  }
  std::vector<Wanted> wanted;
  for (size_t i = 0; rc == SQLITE_OK && i < tables.size(); i++) {
    Wanted one{tables[i], {}, false};
    rc = LookForCompanion(connection, starting.schema, one.table, &one.companion, &one.there);
    const Table* known = connection->catalog.FindTable(one.table.c_str());
    const bool done = one.there && known != nullptr && known->active;
    if (!done) wanted.push_back(static_cast<Wanted&&>(one));
  }
  if (rc != SQLITE_OK) return rc;
  if (wanted.size() < 2 || connection->InTransaction()) {
    for (size_t i = 0; rc == SQLITE_OK && i < wanted.size(); i++) {
      const Wanted& one = wanted[i];
      rc = MakeCompanion(connection, one.table, one.companion, one.there);
    }
    return rc;
  }
  Transaction transaction(connection);
  rc = transaction.Begin();
  const int64_t version = connection->catalog.schema_version();
  if (rc == SQLITE_OK) rc = connection->catalog.Refresh(connection);
  // Another connection has changed the schema in between.
  if (rc == SQLITE_OK && connection->catalog.schema_version() != version) {
    rc = starting.schema.Read(connection, nullptr);
  }
  if (rc == SQLITE_OK) rc = MakeTogether(connection, wanted, &starting);
  return rc == SQLITE_OK ? transaction.Commit() : rc;
}

}  // namespace mergelite
