// SwiGLU: y = silu(g) u. A row of gate_up[rows, 2 n] holds its n gates, then its n values.

#define GATE_THREADS 256

// One thread for each piece of a row; rows lie in the grid's y direction.
template <class T>
__device__ __forceinline__ void gate(const T* gate_up, T* y, u32 n, u32 rows) {
  Columns<T> columns(n);
  u32 piece = blockIdx.x * blockDim.x + threadIdx.x;
  if (piece >= columns.count) return;
  for (u32 row = blockIdx.y; row < rows; row += gridDim.y) {
    const T* from = gate_up + (u64)row * 2 * n;
    float g[Columns<T>::WIDTH], u[Columns<T>::WIDTH];
    columns.load(from, piece, g);
    columns.load(from + n, piece, u);
#pragma unroll
    for (u32 i = 0; i < Columns<T>::WIDTH; i++)
      if (i < columns.width()) g[i] = g[i] / (1.0f + expf(-g[i])) * u[i];
    columns.store(y + (u64)row * n, piece, g);
  }
}

// dg = dy u s (1 + g (1 - s)), du = dy g s, with s = 1 / (1 + e^-g).
template <class T>
__device__ __forceinline__ void gate_backward(const T* dy, const T* gate_up, T* d_gate_up, u32 n, u32 rows) {
  Columns<T> columns(n);
  u32 piece = blockIdx.x * blockDim.x + threadIdx.x;
  if (piece >= columns.count) return;
  for (u32 row = blockIdx.y; row < rows; row += gridDim.y) {
    const T* from = gate_up + (u64)row * 2 * n;
    T* to = d_gate_up + (u64)row * 2 * n;
    float d[Columns<T>::WIDTH], g[Columns<T>::WIDTH], u[Columns<T>::WIDTH];
    columns.load(dy + (u64)row * n, piece, d);
    columns.load(from, piece, g);
    columns.load(from + n, piece, u);
#pragma unroll
    for (u32 i = 0; i < Columns<T>::WIDTH; i++) {
      if (i >= columns.width()) continue;
      float s = 1.0f / (1.0f + expf(-g[i])), a = g[i] * s;
      g[i] = d[i] * u[i] * (s + a * (1.0f - s));
      u[i] = d[i] * a;
    }
    columns.store(to, piece, g);
    columns.store(to + n, piece, u);
  }
}

extern "C" __global__ void __launch_bounds__(GATE_THREADS) gate_f32(const float* gate_up, float* y, u32 n, u32 rows) {
  gate(gate_up, y, n, rows);
}

extern "C" __global__ void __launch_bounds__(GATE_THREADS) gate_bf16(const bf16* gate_up, bf16* y, u32 n, u32 rows) {
  gate(gate_up, y, n, rows);
}

extern "C" __global__ void __launch_bounds__(GATE_THREADS) gate_backward_f32(const float* dy, const float* gate_up, float* d_gate_up,
    u32 n, u32 rows) {
  gate_backward(dy, gate_up, d_gate_up, n, rows);
}

extern "C" __global__ void __launch_bounds__(GATE_THREADS) gate_backward_bf16(const bf16* dy, const bf16* gate_up, bf16* d_gate_up,
    u32 n, u32 rows) {
  gate_backward(dy, gate_up, d_gate_up, n, rows);
}
