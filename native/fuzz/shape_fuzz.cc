// The shape descriptor over foreign bytes: what decodes is the one spelling of its shape.
#include "../shape.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mergelite;
  fuzz::Exact copy({data, size});
  const std::unique_ptr<Shape> shape = DecodeShape(copy.span());
  if (shape == nullptr) return 0;
  fuzz::Require(!shape->keys.empty(), "a shape has a key");
  fuzz::Require(shape->hash == Hash64(copy.span()), "a shape is named by its descriptor's hash");
  for (const KeyColumn& key : shape->keys) {
    fuzz::Require(strlen(key.name.c_str()) == key.name.size(), "names have no zero byte");
  }
  Bytes again;
  EncodeShape(*shape, &again);
  fuzz::Require(again.span() == copy.span(), "a shape has one descriptor");
  return 0;
}
