#include "check.h"

namespace mergelite::test {
namespace {

Case* first_case = nullptr;

bool Run(const char* name) {
  for (const Case* at = first_case; at != nullptr; at = at->next) {
    if (strcmp(at->name, name) != 0) continue;
    at->body();
    return true;
  }
  fprintf(stderr, "there is no test %s\n", name);
  return false;
}

}  // namespace

Case::Case(const char* case_name, Function case_body)
    : name(case_name), body(case_body), next(first_case) {
  first_case = this;
}

}  // namespace mergelite::test

int main(int argc, char** argv) {
  for (int i = 1; i < argc; i++) {
    if (!mergelite::test::Run(argv[i])) return 1;
  }
  return 0;
}
