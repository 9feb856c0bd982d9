// What every kernel starts from. Header-free: the same text is compiled by nvcc, by NVRTC without an include path, and, behind
// shim/shim.h, as C++ on a CPU.
//
// Sums are taken in an order that depends on the shape alone; no result is added up by floating-point atomics.

typedef unsigned char u8;
typedef unsigned short bf16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define FULL_WARP 0xffffffffu
// NVRTC has no INFINITY and no NAN.
#define NEG_INF __uint_as_float(0xff800000u)
#define POS_INF __uint_as_float(0x7f800000u)
#define NOT_A_NUMBER __uint_as_float(0x7fc00000u)

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x << 16); }

__device__ __forceinline__ void narrow(float x, float* to) { *to = x; }
// To the nearest, ties to even; a NaN stays one.
__device__ __forceinline__ void narrow(float x, bf16* to) {
#ifdef __CUDA_ARCH__
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(*to) : "f"(x));
#else
  u32 bits = __float_as_uint(x);
  *to = (bits & 0x7fffffffu) > 0x7f800000u ? (bf16)0x7fff : (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

#define LOG2_E 1.44269504f

// 2^x in one instruction, to two units in the last place; what would be denormal is 0.
__device__ __forceinline__ float power_of_two(float x) {
#ifdef __CUDA_ARCH__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

// ---- pieces of 16 bytes ----

template <class T>
struct Piece {
  static const u32 WIDTH = 16 / sizeof(T);
  union {
    uint4 all;
    T each[WIDTH];
  };

  __device__ __forceinline__ void widened(float* x) const {
#pragma unroll
    for (u32 i = 0; i < WIDTH; i++) x[i] = widen(each[i]);
  }

  static __device__ __forceinline__ void load(const T* at, float* x) {
    Piece piece;
    piece.all = *(const uint4*)at;
    piece.widened(x);
  }

  static __device__ __forceinline__ void store(T* at, const float* x) {
    Piece piece;
#pragma unroll
    for (u32 i = 0; i < WIDTH; i++) narrow(x[i], &piece.each[i]);
    *(uint4*)at = piece.all;
  }
};

// Columns of rows that all begin at a multiple of 16 bytes if `n` is a multiple of a piece's width: whole pieces then, or else single
// numbers in x[0].
template <class T>
struct Columns {
  static const u32 WIDTH = Piece<T>::WIDTH;
  bool whole;
  u32 count;

  explicit __device__ __forceinline__ Columns(u32 n) : whole(n % WIDTH == 0), count(whole ? n / WIDTH : n) {}

  // Index of a piece's first column.
  __device__ __forceinline__ u32 first(u32 piece) const { return whole ? piece * WIDTH : piece; }

  __device__ __forceinline__ u32 width() const { return whole ? WIDTH : 1; }

  __device__ __forceinline__ void load(const T* row, u32 piece, float* x) const {
    if (whole) Piece<T>::load(row + first(piece), x);
    else x[0] = widen(row[piece]);
  }

  __device__ __forceinline__ void store(T* row, u32 piece, const float* x) const {
    if (whole) Piece<T>::store(row + first(piece), x);
    else narrow(x[0], row + piece);
  }
};

// ---- rows that begin anywhere ----
//
// Such a row is cut where memory is: slot 0 ends at the first 16-byte boundary behind the row's start, and each
// further slot holds WIDTH elements. Slots that reach over an end of the row are read element by element.

// Rows of arrays that begin at a multiple of 16 bytes and have the same length are cut alike, so that what was read from one row may be
// stored to another's slot.

template <class T>
struct Row {
  static const u32 WIDTH = Piece<T>::WIDTH;
  T* at;
  u32 length, ahead;

  __device__ __forceinline__ Row(const T* at, u32 length)
      : at(const_cast<T*>(at)), length(length), ahead((u32)(((u64)at & 15) / sizeof(T))) {}

  __device__ __forceinline__ u32 slots() const { return (length + ahead + WIDTH - 1) / WIDTH; }

  // Index of a slot's first element; negative if it lies before the row.
  __device__ __forceinline__ long long first(u32 slot) const { return (long long)slot * WIDTH - ahead; }

  __device__ __forceinline__ bool whole(u32 slot) const { return first(slot) >= 0 && first(slot) + WIDTH <= length; }

  // Slots that lie in the row with all of their elements are those from `inner()` to `outer()`; one at either end may not.
  __device__ __forceinline__ u32 inner() const { return ahead ? 1 : 0; }
  __device__ __forceinline__ u32 outer() const { return (length + ahead) / WIDTH; }

  __device__ __forceinline__ bool holds(u32 slot, u32 i) const { return first(slot) + i >= 0 && first(slot) + i < length; }

  __device__ __forceinline__ void load(u32 slot, float* x, float missing) const {
    if (whole(slot)) return Piece<T>::load(at + first(slot), x);
#pragma unroll
    for (u32 i = 0; i < WIDTH; i++) x[i] = holds(slot, i) ? widen(at[first(slot) + i]) : missing;
  }

  __device__ __forceinline__ void store(u32 slot, const float* x) const {
    if (whole(slot)) return Piece<T>::store(at + first(slot), x);
#pragma unroll
    for (u32 i = 0; i < WIDTH; i++)
      if (holds(slot, i)) narrow(x[i], at + first(slot) + i);
  }
};

// ---- reductions over a warp and over a block of whole warps, at most 1024 threads ----

struct Add {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const { return a + b; }
};

// A NaN on either side stays.
struct Largest {
  __device__ __forceinline__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }
  __device__ __forceinline__ u64 operator()(u64 a, u64 b) const { return a > b ? a : b; }
};

template <class T, class F>
__device__ __forceinline__ T warp_reduce(T x, F combine) {
#pragma unroll
  for (u32 step = 16; step > 0; step >>= 1) x = combine(x, __shfl_xor_sync(FULL_WARP, x, step));
  return x;
}

// Every thread gets the result. May be called again at once: all have read `parts` before any returns.
template <class T, class F>
__device__ T block_reduce(T x, F combine) {
  __shared__ T parts[32];
  u32 lane = threadIdx.x & 31u, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  x = warp_reduce(x, combine);
  if (lane == 0) parts[warp] = x;
  __syncthreads();
  x = parts[0];
  for (u32 i = 1; i < warps; i++) x = combine(x, parts[i]);
  __syncthreads();
  return x;
}
