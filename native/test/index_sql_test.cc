#include "../index_sql.h"

#include "check.h"

namespace mergelite::test {
namespace {

bool Is(const Text& text, const char* expected) { return text.span() == SpanOf(expected); }

}  // namespace

TEST(index_terms_are_split_at_commas_outside_of_parentheses) {
  IndexSql index;
  CHECK(ParseIndexSql("CREATE UNIQUE INDEX i ON t (lower(a), coalesce(b, 1, (c)), d)", &index));
  CHECK(index.terms.size() == 3);
  CHECK(Is(index.terms[0], "lower(a)"));
  CHECK(Is(index.terms[1], "coalesce(b, 1, (c))"));
  CHECK(Is(index.terms[2], "d"));
  CHECK(index.condition.empty());
}

TEST(index_names_and_strings_may_hold_anything) {
  IndexSql index;
  CHECK(
      ParseIndexSql("CREATE UNIQUE INDEX \"a(\"\"\" ON [t,(] ('),''(' || `x``)`, \"where\") "
                    "WHERE [y]= ')' ",
                    &index));
  CHECK(index.terms.size() == 2);
  CHECK(Is(index.terms[0], "'),''(' || `x``)`"));
  CHECK(Is(index.terms[1], "\"where\""));
  CHECK(Is(index.condition, "[y]= ')'"));
}

TEST(index_comments_and_order_are_left_out) {
  IndexSql index;
  CHECK(
      ParseIndexSql("CREATE UNIQUE INDEX i -- (\n ON t/*(*/(a||b/*,*/COLLATE x DESC,--)\nc ASC)"
                    "where a IS NOT NULL -- at last",
                    &index));
  CHECK(index.terms.size() == 2);
  CHECK(Is(index.terms[0], "a||b COLLATE x"));
  CHECK(Is(index.terms[1], "c"));
  CHECK(Is(index.condition, "a IS NOT NULL"));
}

TEST(table_options_stand_after_the_columns) {
  const TableOptions none = ParseTableOptions("CREATE TABLE strict (without, x CHECK (strict))");
  CHECK(!none.strict && !none.without_rowid);
  const TableOptions both = ParseTableOptions(
      "CREATE TABLE \"(\" (a /* ) */, b DEFAULT ')' ) -- (\n WITHOUT rowid,Strict");
  CHECK(both.strict && both.without_rowid);
}

TEST(index_sql_that_is_cut_off_is_refused) {
  for (const char* sql : {"", "CREATE INDEX i ON t", "CREATE INDEX i ON t (", "i (a", "i (a,)",
                          "i (a) HAVING b", "i (a) WHERE", "i ('a", "i (a) /*", "i (a -- )"}) {
    IndexSql index;
    const bool parsed = ParseIndexSql(sql, &index);
    CHECK(parsed == (strcmp(sql, "i (a) /*") == 0));
  }
}

}  // namespace mergelite::test
