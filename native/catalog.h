// The replicated tables and the known shapes, as the file has them.
#pragma once
#include <memory>
#include <vector>

#include "feed.h"
#include "shape.h"
#include "sqlite_api.h"
#include "standoffs.h"

namespace mergelite {

struct Connection;
class SchemaRows;

// A table as SQLite describes it, before anyone decides whether it can be replicated.
struct TableInfo {
  enum class Kind : uint8_t { kMissing, kTable, kView, kVirtual };
  struct UniqueIndex {
    struct Term {
      Text column;      // empty for an expression
      Text expression;  // empty for a column
      Text collation;
    };
    std::vector<Term> terms;
    Text condition;  // rows for which it does not hold are not in the index; empty: all are
    // A row may enter it when any column is set: it has a condition, or a term that is computed.
    bool of_any_column = false;
  };

  Kind kind = Kind::kMissing;
  Text name;                     // as declared
  Shape shape;                   // its hash included
  std::vector<Text> defaults;    // of the shape's columns, as SQL; empty for none
  std::vector<bool> not_null;    // of the shape's columns
  std::vector<Text> key_types;   // a type name with the key column's affinity
  std::vector<Text> collations;  // of the key columns, by name: may be the user's own
  bool integer_key = false;      // the key is the rowid
  bool has_rowid = true;         // WITHOUT ROWID tables have none
  std::vector<Text> generated;   // columns that are computed
  bool has_user_triggers = false;
  uint64_t signature = 0;                   // of its rows in the schema
  bool outranked = false;                   // by triggers that are younger than ours
  size_t own_triggers = 0;                  // those capture made
  std::vector<UniqueIndex> unique_indexes;  // besides the key
};
// Without `schema` it reads what it needs of it.
int DescribeTable(Connection* connection, const char* name, TableInfo* info);
int DescribeTable(Connection* connection, const char* name, const SchemaRows& schema,
                  TableInfo* info);

struct Table {
  // Every name that a column has or had, with the id by which row clocks know it. Those of the key
  // count from 0 down.
  struct ColumnName {
    Text name;
    int64_t id;
  };

  int64_t id = 0;
  Text name;
  int64_t shape_id = 0;
  const Shape* shape = nullptr;      // the shape its triggers capture
  std::vector<uint32_t> column_ids;  // of the shape's columns, as row clocks name them
  std::vector<ColumnName> names;
  bool active = false;
  bool old_values = false;  // changes of its rows are noted with what they replace, see old_rows.h
  bool listed = false;  // in the file; a table whose key changed leaves its old self in memory only

  // Facts that a schema change may alter; see Catalog::Check.
  uint64_t signature = 0;        // of the schema rows that were checked
  int64_t checked_version = -2;  // not even under a catalog that could not be loaded
  bool stale = false;            // the table has changed since its triggers were made
  bool lost_triggers = false;    // it was made anew under its old name
  bool outranked = false;        // its triggers should be made anew, to be the youngest
  bool integer_key = false;
  bool has_user_triggers = false;
  bool has_unique_indexes = false;
  bool binary_key = true;  // equal keys are equal values
  bool clocks_empty = false;
  bool has_ranges = false;  // digests of its rows are kept, see ranges.h
  uint64_t key_order = 0;   // see KeyOrder; 0 until it is asked for
  bool settle = false;      // withheld rows may have become fit to show
  Standoffs standoffs;      // why those are still withheld that are not tried again
  // Of the shape's columns that are NOT NULL: the default that is written for NULL, as SQL.
  std::vector<Text> null_defaults;

  RowFeed clock_key;
  bool clock_reading = false;  // clock_read is under way; see Clocks::EndLookUps
  Statement clock_read, clock_write, remove, read_row, exists, probe;
  // Which entry of the open changeset's shapes this is; see Capture.
  uint64_t capture_epoch = 0;
  uint32_t capture_index = 0;

  void FinalizeStatements();
  // Which column of the key, or of the others, has that name or had it; -1 for none.
  int FindKey(const char* column) const;
  int FindColumn(const char* column) const;
};

struct StoredShape {
  int64_t id = 0;
  std::unique_ptr<Shape> shape;
};

class Catalog {
 public:
  // Loads tables and shapes when the schema is not the one they were loaded under. Cheap otherwise.
  int Refresh(Connection* connection);
  // Whether this file has the system tables at all.
  bool present() const { return present_; }
  int64_t schema_version() const { return schema_version_; }
  bool has_foreign_keys() const { return has_foreign_keys_; }
  // Triggers besides ours, on any table or view of the main database.
  bool has_user_triggers() const { return has_user_triggers_; }
  // Whether a trigger or view of the user's own may name such a column.
  bool Mentions(const char* column) const;
  void Invalidate() { schema_version_ = -1; }
  // After a rollback: ids may be given again to others.
  void Forget();

  const std::vector<std::unique_ptr<Table>>& tables() const { return tables_; }
  Table* FindTable(const char* name) const;
  // The replicated table that has this name or, if none has, that had it; null for none.
  Table* FindReplicated(const char* name) const;
  Table* TableById(int64_t id) const;
  // By the number in its triggers; null for a shape that no longer is a table's current one.
  Table* TableByShapeId(int64_t shape_id) const {
    const auto index = static_cast<uint64_t>(shape_id);
    return index < table_by_shape_id_.size() ? table_by_shape_id_[index] : nullptr;
  }
  // Fills in the facts that depend on the schema, once per schema version.
  int Check(Connection* connection, Table* table) {
    return table->checked_version == schema_version_ ? SQLITE_OK : CheckOne(connection, table);
  }
  // The same for all active tables, in one pass over the schema: what has not changed there is as
  // it was.
  int CheckAll(Connection* connection);

  // The shape of a hash, null when it is unknown.
  int FindShape(Connection* connection, uint64_t hash, const Shape** shape);
  int64_t last_shape_id() const { return shapes_loaded_; }
  // Stores a shape unless it is known, and tells its id.
  int AddShape(Connection* connection, Span descriptor, int64_t* id);

  void Finalize();

 private:
  int ReadSchemaVersion(Connection* connection, int64_t* version);
  int Load(Connection* connection);
  int LoadUserSql(Connection* connection);
  int LoadShapes(Connection* connection);
  const Shape* ShapeById(int64_t id) const;
  int LoadTables(Connection* connection);
  int LoadColumnIds(Table* table, Statement* columns);
  int LoadAliases(Connection* connection);
  int CheckOne(Connection* connection, Table* table);
  int Describe(Connection* connection, const SchemaRows& schema, Table* table);

  bool present_ = false;
  bool has_foreign_keys_ = false;
  bool has_user_triggers_ = false;
  Text user_sql_;  // of the user's triggers and views
  int64_t schema_version_ = -1;
  int64_t shapes_loaded_ = 0;
  std::vector<StoredShape> shapes_;
  std::vector<std::unique_ptr<Table>> tables_;
  std::vector<Table*> table_by_shape_id_;
  std::vector<Table*> table_by_name_;  // the listed ones, in the order of their names
  struct KnownShape {
    const Shape* shape;
    int64_t id;
  };
  std::vector<KnownShape>::const_iterator AtHash(uint64_t hash) const;
  std::vector<KnownShape> shape_by_hash_;
  // Tables that were checked one by one under that version.
  int64_t single_version_ = -2;
  size_t singles_ = 0;
  struct Alias {
    Text name;
    int64_t table_id;
  };
  std::vector<Alias> aliases_;
  // What the capture of an open transaction may still point at; rollbacks of schema changes are
  // rare.
  std::vector<StoredShape> retired_shapes_;
  std::vector<std::unique_ptr<Table>> retired_tables_;
  Statement version_, temp_version_, load_shapes_, add_shape_;
};

}  // namespace mergelite
