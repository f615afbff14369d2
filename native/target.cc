// How the shapes of peers meet the tables of this file.
#include "connection.h"
#include "merge.h"

namespace mergelite {

int ResolveTarget(Connection* connection, const Shape* shape, Target** out) {
  MergeState& merge = *connection->merge;
  Catalog& catalog = connection->catalog;
  Target* target = nullptr;
  for (auto& known : merge.targets) {
    if (known->shape == shape) target = known.get();
  }
  if (target == nullptr) {
    merge.targets.push_back(std::make_unique<Target>());
    target = merge.targets.back().get();
    target->shape = shape;
  }
  *out = target;
  if (target->schema_version == catalog.schema_version()) return SQLITE_OK;
  target->schema_version = catalog.schema_version();
  target->writes.clear();
  target->columns.assign(shape->columns.size(), -1);
  target->knows_all_columns = true;
  target->table = nullptr;
  Table* table = catalog.FindTable(shape->table.c_str());
  if (table == nullptr || !table->active) return SQLITE_OK;
  const int rc = catalog.Check(connection, table);
  if (rc != SQLITE_OK) return rc;
  if (table->shape->keys.size() != shape->keys.size()) return SQLITE_OK;
  for (size_t i = 0; i < shape->keys.size(); i++) {
    if (!SameName(shape->keys[i].name.c_str(), table->shape->keys[i].name.c_str())) {
      return SQLITE_OK;
    }
  }
  target->table = table;
  for (size_t i = 0; i < shape->columns.size(); i++) {
    for (size_t j = 0; j < table->shape->columns.size(); j++) {
      if (SameName(shape->columns[i].c_str(), table->shape->columns[j].c_str())) {
        target->columns[i] = static_cast<int>(j);
      }
    }
    if (target->columns[i] < 0) target->knows_all_columns = false;
  }
  return SQLITE_OK;
}

}  // namespace mergelite
