#include "feed.h"

#include "connection.h"

namespace mergelite {
namespace {

constexpr const char* kPointerType = "mergelite_feed";
constexpr const char* kNamePrefix = "mergelite_feed_";
constexpr size_t kWidths[] = {4, 32, 1024};

struct FeedTable {
  sqlite3_vtab base;
  const Api* api;
  int width;
};

struct FeedCursor {
  sqlite3_vtab_cursor base;
  Feed* feed;
  bool at_end;
};

FeedCursor* CursorOf(sqlite3_vtab_cursor* cursor) { return reinterpret_cast<FeedCursor*>(cursor); }
FeedTable* TableOf(sqlite3_vtab* table) { return reinterpret_cast<FeedTable*>(table); }

int Connect(sqlite3* db, void* context, int, const char* const* argv, sqlite3_vtab** out, char**) {
  const Api* api = static_cast<Connection*>(context)->api;
  int width = 0;
  for (const char* digit = argv[0] + strlen(kNamePrefix); *digit != 0; digit++) {
    width = width * 10 + (*digit - '0');
  }
  Text declaration("CREATE TABLE x (v0");
  for (int i = 1; i < width; i++) declaration << ", v" << static_cast<uint64_t>(i);
  declaration << ", source HIDDEN)";
  const int rc = api->declare_vtab(db, declaration.c_str());
  if (rc != SQLITE_OK) return rc;
  auto* table = new FeedTable{};
  table->api = api;
  table->width = width;
  *out = &table->base;
  return SQLITE_OK;
}

int Disconnect(sqlite3_vtab* table) {
  delete TableOf(table);
  return SQLITE_OK;
}

int BestIndex(sqlite3_vtab* table, sqlite3_index_info* info) {
  for (int i = 0; i < info->nConstraint; i++) {
    const auto& constraint = info->aConstraint[i];
    if (constraint.iColumn != TableOf(table)->width || constraint.usable == 0 ||
        constraint.op != SQLITE_INDEX_CONSTRAINT_EQ) {
      continue;
    }
    info->aConstraintUsage[i].argvIndex = 1;
    info->aConstraintUsage[i].omit = 1;
    info->estimatedCost = 1;
    info->estimatedRows = 1000;
    return SQLITE_OK;
  }
  return SQLITE_CONSTRAINT;
}

int Open(sqlite3_vtab*, sqlite3_vtab_cursor** cursor) {
  *cursor = &(new FeedCursor{})->base;
  return SQLITE_OK;
}

int Close(sqlite3_vtab_cursor* cursor) {
  delete CursorOf(cursor);
  return SQLITE_OK;
}

int Next(sqlite3_vtab_cursor* base) {
  FeedCursor* cursor = CursorOf(base);
  cursor->at_end = !cursor->feed->Next();
  return SQLITE_OK;
}

int Filter(sqlite3_vtab_cursor* base, int, const char*, int, sqlite3_value** argv) {
  FeedCursor* cursor = CursorOf(base);
  const Api* api = TableOf(base->pVtab)->api;
  cursor->feed = static_cast<Feed*>(api->value_pointer(argv[0], kPointerType));
  cursor->at_end = true;
  return cursor->feed == nullptr ? SQLITE_MISUSE : Next(base);
}

int AtEnd(sqlite3_vtab_cursor* cursor) { return CursorOf(cursor)->at_end ? 1 : 0; }

int Column(sqlite3_vtab_cursor* cursor, sqlite3_context* context, int index) {
  const FeedTable* table = TableOf(cursor->pVtab);
  const Api* api = table->api;
  if (index < 0 || index >= table->width) return SQLITE_OK;
  const Value& value = CursorOf(cursor)->feed->Column(static_cast<size_t>(index));
  const auto* data = reinterpret_cast<const char*>(value.content.data);
  switch (value.type) {
    case Type::kInteger:
      api->result_int64(context, value.integer);
      break;
    case Type::kReal:
      api->result_double(context, value.real);
      break;
    case Type::kText:
      api->result_text64(context, value.content.size == 0 ? "" : data, value.content.size,
                         SQLITE_STATIC, SQLITE_UTF8);
      break;
    case Type::kBlob:
      // A null pointer would give NULL: an empty blob is not NULL.
      api->result_blob64(context, value.content.size == 0 ? "" : data, value.content.size,
                         SQLITE_STATIC);
      break;
    case Type::kNull:
      break;
  }
  return SQLITE_OK;
}

int Rowid(sqlite3_vtab_cursor*, sqlite3_int64* rowid) {
  *rowid = 0;
  return SQLITE_OK;
}

constexpr sqlite3_module MakeModule() {
  sqlite3_module module{};
  module.xConnect = Connect;  // without xCreate a module is eponymous only
  module.xBestIndex = BestIndex;
  module.xDisconnect = Disconnect;
  module.xDestroy = Disconnect;
  module.xOpen = Open;
  module.xClose = Close;
  module.xFilter = Filter;
  module.xNext = Next;
  module.xEof = AtEnd;
  module.xColumn = Column;
  module.xRowid = Rowid;
  return module;
}
constexpr sqlite3_module kModule = MakeModule();

Text FeedName(size_t width) {
  Text name(kNamePrefix);
  name << static_cast<uint64_t>(width);
  return name;
}

}  // namespace

void AppendFeedName(Text* sql, size_t columns) {
  size_t i = 0;
  while (kWidths[i] < columns && i + 1 < sizeof kWidths / sizeof kWidths[0]) i++;
  *sql << FeedName(kWidths[i]);
}

int BindFeed(Statement* statement, int index, Feed* feed) {
  return statement->Pointer(index, feed, kPointerType);
}

int RegisterFeedTables(Connection* connection, bool there) {
  for (size_t width : kWidths) {
    const int rc = connection->api->create_module_v2(
        connection->db, FeedName(width).c_str(), there ? &kModule : nullptr, connection, nullptr);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

}  // namespace mergelite
