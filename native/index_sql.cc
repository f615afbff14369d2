#include "index_sql.h"

namespace mergelite {
namespace {

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsWord(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '$' || static_cast<unsigned char>(c) >= 0x80;
}

// One token at a time: a quoted name or string, a word, or a single character.
class Tokens {
 public:
  explicit Tokens(const char* text) : end_(text) { Next(); }

  bool AtEnd() const { return *begin_ == 0; }
  void Next() {
    begin_ = end_;
    Skip();
    if (*begin_ == 0) return;
    end_ = begin_ + 1;
    const char c = *begin_;
    if (c == '\'' || c == '"' || c == '`') return Quoted(c);
    if (c == '[') return Quoted(']');
    while (IsWord(c) && IsWord(*end_)) end_++;
  }
  bool Is(char c) const { return *begin_ == c && end_ == begin_ + 1; }
  bool IsKeyword(const char* word) const {
    const char* at = begin_;
    for (; at < end_ && *word != 0 && Fold(*at) == *word; at++, word++) {
    }
    return at == end_ && *word == 0;
  }
  Span span() const {
    return {reinterpret_cast<const uint8_t*>(begin_), static_cast<size_t>(end_ - begin_)};
  }

 private:
  void Skip() {
    for (;;) {
      while (IsSpace(*begin_)) begin_++;
      if (begin_[0] == '-' && begin_[1] == '-') {
        while (*begin_ != 0 && *begin_ != '\n') begin_++;
      } else if (begin_[0] == '/' && begin_[1] == '*') {
        begin_ += 2;
        while (*begin_ != 0 && !(begin_[0] == '*' && begin_[1] == '/')) begin_++;
        if (*begin_ != 0) begin_ += 2;
      } else {
        return;
      }
    }
  }
  // A quote within quotes is written twice, except in brackets.
  void Quoted(char quote) {
    while (*end_ != 0) {
      if (*end_++ != quote) continue;
      if (*end_ != quote || quote == ']') return;
      end_++;
    }
  }

  const char* begin_ = nullptr;
  const char* end_ = nullptr;
};

// Tokens with a blank between them mean what they did, unless two characters were one operator.
void AppendToken(Text* text, const Tokens& tokens, const char* end_of_last) {
  const bool apart = reinterpret_cast<const char*>(tokens.span().data) != end_of_last;
  if (!text->empty() && apart) *text << " ";
  text->Add(tokens.span());
}

// Up to the comma or parenthesis that ends the term.
Text Term(Tokens* tokens) {
  Text term;
  size_t depth = 0;
  const char* last_end = nullptr;
  for (; !tokens->AtEnd(); tokens->Next()) {
    if (depth == 0 && (tokens->Is(',') || tokens->Is(')'))) break;
    if (tokens->Is('(')) depth++;
    if (tokens->Is(')')) depth--;
    // The order matters to no one who asks for equality.
    if (depth == 0 && (tokens->IsKeyword("asc") || tokens->IsKeyword("desc"))) continue;
    AppendToken(&term, *tokens, last_end);
    last_end = reinterpret_cast<const char*>(tokens->span().end());
  }
  return term;
}

}  // namespace

TableOptions ParseTableOptions(const char* sql) {
  TableOptions options;
  size_t depth = 0;
  bool columns = false;
  for (Tokens tokens(sql); !tokens.AtEnd(); tokens.Next()) {
    if (tokens.Is('(')) depth++;
    if (tokens.Is(')') && depth > 0) depth--;
    columns = columns || depth > 0;
    if (!columns || depth > 0) continue;
    if (tokens.IsKeyword("strict")) options.strict = true;
    if (tokens.IsKeyword("without")) options.without_rowid = true;
  }
  return options;
}

bool ParseIndexSql(const char* sql, IndexSql* out) {
  Tokens tokens(sql);
  while (!tokens.AtEnd() && !tokens.Is('(')) tokens.Next();
  if (tokens.AtEnd()) return false;
  do {
    tokens.Next();
    out->terms.push_back(Term(&tokens));
    if (out->terms.back().empty()) return false;
  } while (tokens.Is(','));
  if (!tokens.Is(')')) return false;
  tokens.Next();
  if (tokens.AtEnd()) return true;
  if (!tokens.IsKeyword("where")) return false;
  const char* last_end = nullptr;
  for (tokens.Next(); !tokens.AtEnd(); tokens.Next()) {
    AppendToken(&out->condition, tokens, last_end);
    last_end = reinterpret_cast<const char*>(tokens.span().end());
  }
  return !out->condition.empty();
}

}  // namespace mergelite
