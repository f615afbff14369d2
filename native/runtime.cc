// What the C++ runtime library would bring. Without it one binary loads under every glibc and under
// musl; see docs/decisions/0002-one-binary-without-libstdc++.md.
#include <cstddef>
#include <cstdlib>

#if defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__)

namespace {

// There are no exceptions here, so running out of memory ends the process, as it would in Node.
void* AllocateOrAbort(size_t size) {
  void* memory = malloc(size == 0 ? 1 : size);
  if (memory == nullptr) abort();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return AllocateOrAbort(size); }
void* operator new[](size_t size) { return AllocateOrAbort(size); }
void operator delete(void* memory) noexcept { free(memory); }
void operator delete[](void* memory) noexcept { free(memory); }
void operator delete(void* memory, size_t) noexcept { free(memory); }
void operator delete[](void* memory, size_t) noexcept { free(memory); }

extern "C" void __cxa_pure_virtual() { abort(); }

namespace std {
// Called by the checks of vector and function.
void __throw_length_error(const char*) { abort(); }
void __throw_bad_alloc() { abort(); }
void __throw_bad_array_new_length() { abort(); }
void __throw_bad_function_call() { abort(); }
void __throw_logic_error(const char*) { abort(); }
}  // namespace std

#endif
