// All kernels, and one entry that calls any of them as cuLaunchKernel would: by name, with an array of pointers to arguments.
#include "shim.h"

#include <utility>

#include "../cu/prelude.cu"
#include "kernels.inc"  // #include for every file of cu/

namespace {

// What an argument is, in a letter; a pointer's letter is upper case. The caller says the same of what it passes.
template <class T> struct Kind;
template <> struct Kind<float> { static const char letter = 'f'; };
template <> struct Kind<double> { static const char letter = 'd'; };
template <> struct Kind<u8> { static const char letter = 'b'; };
template <> struct Kind<bf16> { static const char letter = 'h'; };
template <> struct Kind<u32> { static const char letter = 'u'; };
template <> struct Kind<u64> { static const char letter = 'q'; };
template <> struct Kind<Choice> { static const char letter = 'c'; };
template <> struct Kind<CacheRow> { static const char letter = 'r'; };
template <> struct Kind<QueryBlock> { static const char letter = 'a'; };
template <> struct Kind<KeyBlock> { static const char letter = 'k'; };
template <> struct Kind<JoinedBlock> { static const char letter = 'j'; };
template <> struct Kind<Run> { static const char letter = 'n'; };
template <class T> struct Kind<const T> : Kind<T> {};
template <class T> struct Kind<T*> { static const char letter = Kind<T>::letter + 'A' - 'a'; };

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*(A*)arguments[I]...);
}

template <class... A>
bool run(void (*kernel)(A...), const char* name, const char* kinds, void** arguments, const unsigned* shape, unsigned seed) {
  const char expected[] = {Kind<A>::letter..., 0};
  if (strcmp(expected, kinds) != 0) {
    fprintf(stderr, "shim: %s takes %s, and was given %s\n", name, expected, kinds);
    return false;
  }
  shim::kernel = name;
  shim::run({shape[0], shape[1], shape[2]}, {shape[3], 1, 1}, seed,
            [&] { call(kernel, arguments, std::index_sequence_for<A...>{}); });
  return true;
}

}  // namespace

// `shape` is the grid's three sizes and the block's size. False if there is no such kernel or it takes something else.
extern "C" bool shim_launch(const char* name, const char* kinds, void** arguments, const unsigned* shape, unsigned seed) {
#define KERNEL(kernel) \
  if (strcmp(name, #kernel) == 0) return run(kernel, name, kinds, arguments, shape, seed);
#include "entries.inc"  // KERNEL(name) for every kernel
#undef KERNEL
  fprintf(stderr, "shim: there is no kernel %s\n", name);
  return false;
}
