// A changeset, with what its patches are about in this file.
#pragma once
#include "merge.h"

namespace mergelite {

struct Changeset {
  Payload payload;
  std::vector<const Shape*> shapes;
  std::vector<Target*> targets;
};

// The shapes of a payload; the first unknown one is reported, and 0 if there is none.
int ResolveShapes(Connection* connection, Changeset* changeset, uint64_t* unknown);
int ResolveTargets(Connection* connection, Changeset* changeset);
// The same of a changeset that has been merged; unless its shapes are known it has no targets.
int ReadMerged(Connection* connection, const Record& record, Changeset* changeset);

}  // namespace mergelite
