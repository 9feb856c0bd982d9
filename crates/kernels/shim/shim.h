// CUDA on a CPU, as much of it as our kernels use: one fiber for each thread of a block, blocks one after the other.
//
// A fiber runs until it waits: at __syncthreads() for the block, at a *_sync() for the lanes it names. In which order fibers run is
// drawn from a seed, so that a barrier that is missing shows as a result that depends on the seed. A barrier that only part of a
// block reaches, or a collective of lanes that wait elsewhere or have left, ends the process with a message.
//
// What it cannot show: races within what one fiber does between two waits, the order in which a GPU makes writes visible, and rounding
// where a GPU's expf differs from the C library's.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Blocks run one after the other, so one copy serves all of them.
#define __shared__ static

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace shim {

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};

enum class Wait { nothing, block, lanes, end };

struct Fiber {
  ucontext_t start;
  jmp_buf here;
  bool started;
  std::vector<char> stack;
  Wait wait;
  Dim thread;
  unsigned linear;
  uint32_t mask;
  int collective;
  uint64_t in, lanes[32];
};

inline Dim block_index, block_size, grid_size;
inline Fiber* current;
inline ucontext_t boot;
inline jmp_buf scheduler;
inline std::function<void()> body;
inline const char* kernel = "";

[[noreturn]] inline void fail(const char* what) {
  fprintf(stderr, "shim: %s, block (%u, %u, %u), thread %u: %s\n", kernel, block_index.x, block_index.y, block_index.z,
          current ? current->linear : 0, what);
  abort();
}

inline void wait_for(Wait what) {
  current->wait = what;
  if (_setjmp(current->here) == 0) _longjmp(scheduler, 1);
}

inline void fiber_main() {
  body();
  current->wait = Wait::end;
  _longjmp(scheduler, 1);
}

// The first entry needs a stack of its own; from then on jumps are enough, and cost no system call.
inline void resume(Fiber& fiber) {
  current = &fiber;
  if (_setjmp(scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.here, 1);
  fiber.started = true;
  setcontext(&fiber.start);
}

inline void exchange(uint32_t mask, uint64_t value, int collective) {
  if (!(mask >> (current->linear & 31) & 1)) fail("a lane calls a collective that does not name it");
  current->mask = mask;
  current->in = value;
  current->collective = collective;
  wait_for(Wait::lanes);
}

inline void begin(std::vector<Fiber>& fibers) {
  for (unsigned i = 0; i < fibers.size(); i++) {
    Fiber& fiber = fibers[i];
    fiber.linear = i;
    fiber.started = false;
    fiber.wait = Wait::nothing;
    fiber.thread = {i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.data();
    fiber.start.uc_stack.ss_size = fiber.stack.size();
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, fiber_main, 0);
  }
}

// Lets the lanes of one warp go that have all come to the same collective.
inline bool release_lanes(std::vector<Fiber>& fibers, unsigned first) {
  bool any = false;
  unsigned last = std::min<unsigned>(fibers.size(), first + 32);
  for (unsigned i = first; i < last; i++) {
    if (fibers[i].wait != Wait::lanes) continue;
    uint32_t mask = fibers[i].mask;
    bool all = true;
    for (unsigned lane = 0; lane < 32; lane++) {
      if (!(mask >> lane & 1)) continue;
      current = &fibers[i];
      if (first + lane >= last || fibers[first + lane].wait == Wait::end) fail("a collective names a lane that is not there");
      Fiber& other = fibers[first + lane];
      if (other.wait == Wait::block) fail("lanes of one warp wait at a collective and at a barrier");
      if (other.wait != Wait::lanes) all = false;
      else if (other.mask != mask || other.collective != fibers[i].collective) fail("lanes of one warp wait at different collectives");
    }
    if (!all) continue;
    for (unsigned a = 0; a < 32; a++) {
      if (!(mask >> a & 1)) continue;
      Fiber& to = fibers[first + a];
      for (unsigned b = 0; b < 32; b++) to.lanes[b] = mask >> b & 1 ? fibers[first + b].in : ~0ull;
    }
    for (unsigned a = 0; a < 32; a++)
      if (mask >> a & 1) fibers[first + a].wait = Wait::nothing;
    any = true;
  }
  return any;
}

inline void run_block(std::vector<Fiber>& fibers, unsigned seed) {
  std::vector<unsigned> order(fibers.size());
  for (unsigned i = 0; i < order.size(); i++) order[i] = i;
  std::mt19937 random(seed * 7919u + block_index.x + 31 * block_index.y + 101 * block_index.z);
  if (seed == 1) std::reverse(order.begin(), order.end());
  if (seed > 1) std::shuffle(order.begin(), order.end(), random);
  begin(fibers);
  for (;;) {
    bool any = false;
    for (unsigned i : order) {
      if (fibers[i].wait != Wait::nothing) continue;
      resume(fibers[i]);
      any = true;
    }
    for (unsigned first = 0; first < fibers.size(); first += 32) any |= release_lanes(fibers, first);
    if (any) continue;
    unsigned at_barrier = 0, ended = 0;
    for (Fiber& fiber : fibers) {
      at_barrier += fiber.wait == Wait::block;
      ended += fiber.wait == Wait::end;
    }
    if (ended == fibers.size()) return;
    current = nullptr;
    if (at_barrier + ended < fibers.size()) fail("threads wait for one another");
    if (ended) fail("part of a block waits at a barrier, the rest has left");
    for (Fiber& fiber : fibers) fiber.wait = Wait::nothing;
  }
}

inline void run(Dim grid, Dim block, unsigned seed, std::function<void()> what) {
  static std::vector<Fiber> fibers;
  grid_size = grid;
  block_size = block;
  body = what;
  fibers.resize(block.x * block.y * block.z);
  for (Fiber& fiber : fibers) fiber.stack.resize(64 << 10);
  for (unsigned z = 0; z < grid.z; z++)
    for (unsigned y = 0; y < grid.y; y++)
      for (unsigned x = 0; x < grid.x; x++) {
        block_index = {x, y, z};
        run_block(fibers, seed);
      }
}

template <class T>
uint64_t bits(T value) {
  uint64_t raw = 0;
  memcpy(&raw, &value, sizeof value);
  return raw;
}

template <class T>
T unbits(uint64_t raw) {
  T value;
  memcpy(&value, &raw, sizeof value);
  return value;
}

inline unsigned lane() { return current->linear & 31; }

}  // namespace shim

#define threadIdx (shim::current->thread)
#define blockIdx shim::block_index
#define blockDim shim::block_size
#define gridDim shim::grid_size

inline void __syncthreads() { shim::wait_for(shim::Wait::block); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { shim::exchange(mask, 0, 0); }

template <class T>
T __shfl_xor_sync(unsigned mask, T value, unsigned flip) {
  shim::exchange(mask, shim::bits(value), 1);
  unsigned from = shim::lane() ^ flip;
  if (!(mask >> from & 1)) shim::fail("a shuffle reads a lane that does not take part");
  return shim::unbits<T>(shim::current->lanes[from]);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  shim::exchange(mask, shim::bits(value), 2);
  if (shim::lane() < by) return value;
  if (!(mask >> (shim::lane() - by) & 1)) shim::fail("a shuffle reads a lane that does not take part");
  return shim::unbits<T>(shim::current->lanes[shim::lane() - by]);
}

template <class T>
T __shfl_sync(unsigned mask, T value, unsigned from) {
  shim::exchange(mask, shim::bits(value), 3);
  if (!(mask >> (from & 31) & 1)) shim::fail("a shuffle reads a lane that does not take part");
  return shim::unbits<T>(shim::current->lanes[from & 31]);
}

inline int __all_sync(unsigned mask, int predicate) {
  shim::exchange(mask, predicate != 0, 4);
  for (unsigned lane = 0; lane < 32; lane++)
    if (mask >> lane & 1 && !shim::current->lanes[lane]) return 0;
  return 1;
}

template <class T>
T atomicAdd(T* at, T value) {
  T before = *at;
  *at = before + value;
  return before;
}

inline float __uint_as_float(unsigned bits) { return shim::unbits<float>(bits); }
inline unsigned __float_as_uint(float value) { return (unsigned)shim::bits(value); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
using std::max;
using std::min;
