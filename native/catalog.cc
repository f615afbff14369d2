#include "catalog.h"

#include <algorithm>

#include "connection.h"

namespace mergelite {

void Table::FinalizeStatements() {
  clock_reading = false;
  for (Statement* statement : {&clock_read, &clock_write, &remove, &read_row, &exists, &probe}) {
    statement->Finalize();
  }
}

// Of both schemas that may hold triggers of a table: the file's and this connection's temporary
// one.
int Catalog::ReadSchemaVersion(Connection* connection, int64_t* version) {
  int64_t versions[2] = {0, 0};
  Statement* statements[2] = {&version_, &temp_version_};
  const char* pragmas[2] = {"PRAGMA main.schema_version", "PRAGMA temp.schema_version"};
  for (int i = 0; i < 2; i++) {
    int rc = connection->Prepare(statements[i], pragmas[i]);
    if (rc != SQLITE_OK) return rc;
    rc = statements[i]->Step();
    if (rc != SQLITE_ROW) return connection->Check(rc == SQLITE_OK ? SQLITE_CORRUPT : rc);
    versions[i] = statements[i]->ColumnInteger(0);
    rc = connection->Check(statements[i]->Reset());
    if (rc != SQLITE_OK) return rc;
  }
  *version = (versions[1] & 0x3fffffff) << 32 | (versions[0] & 0xffffffff);
  return SQLITE_OK;
}

int Catalog::Refresh(Connection* connection) {
  int64_t version;
  int rc = ReadSchemaVersion(connection, &version);
  if (rc != SQLITE_OK || version == schema_version_) return rc;
  rc = Load(connection);
  // What was loaded in part is loaded again.
  schema_version_ = rc == SQLITE_OK ? version : -1;
  return rc;
}

int Catalog::Load(Connection* connection) {
  Statement query;
  int rc = connection->Check(query.Prepare(
      connection->api, connection->db,
      // One pass: with thousands of tables the schema is long.
      "SELECT coalesce(max(name = '_mergelite_meta'), 0), coalesce(max(type = 'table' AND sql LIKE "
      "'%REFERENCES%'), 0), (SELECT encoding <> 'UTF-8' FROM pragma_encoding), "
      "coalesce(max(type = 'trigger' AND substr(name, 1, 11) <> '_mergelite_'), 0) OR EXISTS "
      "(SELECT 1 FROM temp.sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 11) <> "
      "'_mergelite_') FROM main.sqlite_schema"));
  if (rc != SQLITE_OK) return rc;
  rc = query.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  present_ = query.ColumnInteger(0) != 0;
  has_foreign_keys_ = query.ColumnInteger(1) != 0;
  connection->utf16 = query.ColumnInteger(2) != 0;
  has_user_triggers_ = query.ColumnInteger(3) != 0;
  rc = connection->Check(query.Reset());
  if (rc != SQLITE_OK) return rc;
  user_sql_.Clear();
  if (!present_) return Forget(), SQLITE_OK;
  rc = LoadUserSql(connection);
  if (rc != SQLITE_OK) return rc;
  rc = LoadShapes(connection);
  return rc == SQLITE_OK ? LoadTables(connection) : rc;
}

int Catalog::LoadShapes(Connection* connection) {
  int rc = connection->Prepare(
      &load_shapes_, "SELECT id, descriptor FROM main._mergelite_shapes WHERE id > ?1 ORDER BY id");
  if (rc != SQLITE_OK) return rc;
  load_shapes_.Integer(1, shapes_loaded_);
  while ((rc = load_shapes_.Step()) == SQLITE_ROW) {
    StoredShape stored;
    stored.id = load_shapes_.ColumnInteger(0);
    stored.shape = DecodeShape(load_shapes_.ColumnBytes(1));
    // One that could not be read is asked for again.
    if (stored.shape == nullptr) continue;
    shapes_loaded_ = stored.id;
    const Shape* shape = stored.shape.get();
    shape_by_hash_.insert(AtHash(shape->hash), {shape, stored.id});
    shapes_.push_back(static_cast<StoredShape&&>(stored));
  }
  return connection->Check(rc);
}

// They are loaded in the order of their ids.
const Shape* Catalog::ShapeById(int64_t id) const {
  const auto found =
      std::lower_bound(shapes_.begin(), shapes_.end(), id,
                       [](const StoredShape& shape, int64_t wanted) { return shape.id < wanted; });
  return found != shapes_.end() && found->id == id ? found->shape.get() : nullptr;
}

std::vector<Catalog::KnownShape>::const_iterator Catalog::AtHash(uint64_t hash) const {
  return std::lower_bound(
      shape_by_hash_.begin(), shape_by_hash_.end(), hash,
      [](const KnownShape& known, uint64_t wanted) { return known.shape->hash < wanted; });
}

int Catalog::LoadColumnIds(Table* table, Statement* columns) {
  table->column_ids.assign(table->shape->columns.size(), 0);
  table->names.clear();
  columns->Integer(1, table->id);
  int rc;
  while ((rc = columns->Step()) == SQLITE_ROW) {
    table->names.push_back({Text(columns->ColumnText(1)), columns->ColumnInteger(0)});
    if (columns->ColumnInteger(0) <= 0) continue;  // of the key
    for (size_t i = 0; i < table->column_ids.size(); i++) {
      if (SameName(table->shape->columns[i].c_str(), columns->ColumnText(1))) {
        table->column_ids[i] = static_cast<uint32_t>(columns->ColumnInteger(0));
      }
    }
  }
  return rc;
}

int Catalog::LoadTables(Connection* connection) {
  Statement query, columns;
  int rc = connection->Check(
      query.Prepare(connection->api, connection->db,
                    "SELECT id, name, shape_id, active, old_values FROM main._mergelite_tables "
                    "ORDER BY id"));
  if (rc == SQLITE_OK) {
    rc = connection->Check(
        columns.Prepare(connection->api, connection->db,
                        "SELECT id, name FROM main._mergelite_columns WHERE table_id = ?1"));
  }
  if (rc != SQLITE_OK) return rc;
  // Tables keep their place in memory: the capture of an open transaction points at them.
  for (auto& table : tables_) table->active = table->listed = false;
  size_t at = 0;
  while ((rc = query.Step()) == SQLITE_ROW) {
    const int64_t id = query.ColumnInteger(0);
    // Both are in the order of their ids.
    while (at < tables_.size() && tables_[at]->id < id) at++;
    if (at == tables_.size() || tables_[at]->id != id) {
      tables_.insert(tables_.begin() + static_cast<ptrdiff_t>(at), std::make_unique<Table>());
      tables_[at]->id = id;
    }
    Table* table = tables_[at].get();
    const Shape* before = table->shape;
    table->listed = true;
    table->name = Text(query.ColumnText(1));
    if (table->shape_id != query.ColumnInteger(2)) table->capture_epoch = 0;
    table->shape_id = query.ColumnInteger(2);
    table->active = query.ColumnInteger(3) != 0;
    table->old_values = query.ColumnInteger(4) != 0;
    table->shape = ShapeById(table->shape_id);
    if (table->shape == nullptr) {
      table->active = false;
      continue;
    }
    if (table->shape == before) continue;
    rc = LoadColumnIds(table, &columns);
    if (rc == SQLITE_OK) continue;
    table->shape = nullptr;  // so that they are loaded next time
    break;
  }
  if (rc != SQLITE_OK) return connection->Check(rc);
  table_by_shape_id_.clear();
  table_by_name_.clear();
  for (auto& table : tables_) {
    if (table->listed) table_by_name_.push_back(table.get());
    if (!table->active) continue;
    const auto index = static_cast<size_t>(table->shape_id);
    if (index >= table_by_shape_id_.size()) table_by_shape_id_.resize(index + 1, nullptr);
    table_by_shape_id_[index] = table.get();
  }
  std::sort(table_by_name_.begin(), table_by_name_.end(), [](const Table* a, const Table* b) {
    return CompareNames(a->name.c_str(), b->name.c_str()) < 0;
  });
  return LoadAliases(connection);
}

Table* Catalog::FindTable(const char* name) const {
  const auto found = std::lower_bound(
      table_by_name_.begin(), table_by_name_.end(), name,
      [](const Table* a, const char* b) { return CompareNames(a->name.c_str(), b) < 0; });
  const bool known = found != table_by_name_.end() && SameName((*found)->name.c_str(), name);
  return known ? *found : nullptr;
}

Table* Catalog::TableById(int64_t id) const {
  const auto found =
      std::lower_bound(tables_.begin(), tables_.end(), id,
                       [](const std::unique_ptr<Table>& a, int64_t b) { return a->id < b; });
  const bool known = found != tables_.end() && (*found)->id == id && (*found)->listed;
  return known ? found->get() : nullptr;
}

int Catalog::FindShape(Connection* connection, uint64_t hash, const Shape** shape) {
  *shape = nullptr;
  for (int attempt = 0; attempt < 2; attempt++) {
    const auto found = AtHash(hash);
    if (found != shape_by_hash_.end() && found->shape->hash == hash) {
      *shape = found->shape;
      return SQLITE_OK;
    }
    // Another process may have learned it since.
    if (attempt == 0) {
      const int rc = LoadShapes(connection);
      if (rc != SQLITE_OK) return rc;
    }
  }
  return SQLITE_OK;
}

int Catalog::AddShape(Connection* connection, Span descriptor, int64_t* id) {
  std::unique_ptr<Shape> shape = DecodeShape(descriptor);
  if (shape == nullptr) {
    return connection->Fail("SHAPE_MALFORMED", "a shape descriptor does not decode",
                            "The peer that sent it is damaged or runs an unknown version.");
  }
  int rc = LoadShapes(connection);
  if (rc != SQLITE_OK) return rc;
  const auto known = AtHash(shape->hash);
  if (known != shape_by_hash_.end() && known->shape->hash == shape->hash) {
    *id = known->id;
    return SQLITE_OK;
  }
  rc = connection->Prepare(&add_shape_,
                           "INSERT INTO main._mergelite_shapes (hash, descriptor) VALUES (?1, ?2) "
                           "RETURNING id");
  if (rc != SQLITE_OK) return rc;
  add_shape_.Integer(1, static_cast<int64_t>(shape->hash));
  add_shape_.Bytes(2, descriptor);
  rc = add_shape_.Step();
  if (rc != SQLITE_ROW) return connection->Check(rc);
  *id = add_shape_.ColumnInteger(0);
  rc = connection->Check(add_shape_.Reset());
  return rc == SQLITE_OK ? LoadShapes(connection) : rc;
}

void Catalog::Forget() {
  for (auto& shape : shapes_) retired_shapes_.push_back(static_cast<StoredShape&&>(shape));
  for (auto& table : tables_) {
    table->FinalizeStatements();
    table->active = false;
    retired_tables_.push_back(static_cast<std::unique_ptr<Table>&&>(table));
  }
  shapes_.clear();
  tables_.clear();
  table_by_shape_id_.clear();
  table_by_name_.clear();
  shape_by_hash_.clear();
  shapes_loaded_ = 0;
  schema_version_ = -1;
}

void Catalog::Finalize() {
  for (auto& table : tables_) table->FinalizeStatements();
  for (auto& table : retired_tables_) table->FinalizeStatements();
  for (Statement* statement : {&version_, &temp_version_, &load_shapes_, &add_shape_}) {
    statement->Finalize();
  }
}

}  // namespace mergelite
