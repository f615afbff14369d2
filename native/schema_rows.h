// What the schema says of tables, read in one pass: it has no index, so with thousands of tables
// every look into it is long.
#pragma once
#include <vector>

#include "bytes.h"

namespace mergelite {

struct Connection;
class Statement;

class SchemaRows {
 public:
  struct Row {
    int64_t age;     // -1: in the temporary schema
    uint64_t hash;   // a table's signature is the sum of these
    uint32_t table;  // here and below where a text begins
    uint32_t name;
    uint32_t sql;  // of triggers and views nothing
    char kind;     // 't'able, 'v'iew, 'i'ndex, or t'r'igger
    bool virtual_table;
  };
  struct Range {
    const Row* first;
    const Row* last;
    const Row* begin() const { return first; }
    const Row* end() const { return last; }
  };

  // Of all tables, or only of what describing one takes.
  int Read(Connection* connection, const char* only);
  // In the order of their age, those of the temporary schema first.
  Range Of(const char* table) const;
  // Whether its name is that of a virtual table with something added, as a shadow table's is.
  bool MayBeShadow(const char* table) const;
  const char* TextAt(uint32_t offset) const {
    return reinterpret_cast<const char*>(texts_.data()) + offset;
  }

 private:
  uint32_t Keep(const char* text);
  int Add(Statement* query);

  Bytes texts_;
  std::vector<Row> rows_;  // ascending by table, then age
};

}  // namespace mergelite
