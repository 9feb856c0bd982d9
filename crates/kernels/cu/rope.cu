// Rotary position embedding, half-split, in place: the first `heads` heads of every row of x[rows, stride] are turned to the row's
// position, or back if `direction` is -1. `cosines` and `sines` are tables [known, d / 2]; a row beyond them becomes NaN.

#define ROPE_THREADS 256

template <class T>
__device__ __forceinline__ void turn(T* head, const float* cosines, const float* sines, u32 half, u32 i, float direction) {
  float a = widen(head[i]), b = widen(head[i + half]), c = cosines[i], s = sines[i] * direction;
  narrow(a * c - b * s, head + i);
  narrow(b * c + a * s, head + i + half);
}

// One thread a pair; rows lie in the grid's y direction.
template <class T>
__device__ __forceinline__ void rope(T* x, const u32* positions, const float* cosines, const float* sines, float direction, u32 rows,
                                     u32 stride, u32 heads, u32 half, u32 known) {
  u32 pair = blockIdx.x * blockDim.x + threadIdx.x;
  if (pair >= heads * half) return;
  for (u32 row = blockIdx.y; row < rows; row += gridDim.y) {
    u64 table = (u64)positions[row] * half;
    T* head = x + (u64)row * stride + (u64)(pair / half) * 2 * half;
    if (positions[row] < known) {
      turn(head, cosines + table, sines + table, half, pair % half, direction);
    } else {
      narrow(NOT_A_NUMBER, head + pair % half);
      narrow(NOT_A_NUMBER, head + pair % half + half);
    }
  }
}

extern "C" __global__ void __launch_bounds__(ROPE_THREADS) rope_f32(float* x, const u32* positions, const float* cosines,
    const float* sines, float direction, u32 rows, u32 stride, u32 heads, u32 half, u32 known) {
  rope(x, positions, cosines, sines, direction, rows, stride, heads, half, known);
}

extern "C" __global__ void __launch_bounds__(ROPE_THREADS) rope_bf16(bf16* x, const u32* positions, const float* cosines,
    const float* sines, float direction, u32 rows, u32 stride, u32 heads, u32 half, u32 known) {
  rope(x, positions, cosines, sines, direction, rows, stride, heads, half, known);
}
