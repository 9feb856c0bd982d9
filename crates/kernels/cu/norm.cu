// Root-mean-square norm: y_i = w_i x_i r with r = 1 / sqrt(mean(x^2) + eps), one block a row. Weights and their gradient are f32.

#define NORM_THREADS 256
// A row's width at the most: what a block's part of dw takes of shared memory.
#define NORM_WIDTH 8192

template <class T>
__device__ __forceinline__ void rms_norm(const T* x, const float* w, T* y, float* rstd, float eps, u32 h) {
  const T* from = x + (u64)blockIdx.x * h;
  Columns<T> columns(h);
  float squares = 0.0f;
  for (u32 piece = threadIdx.x; piece < columns.count; piece += blockDim.x) {
    float v[Columns<T>::WIDTH];
    columns.load(from, piece, v);
#pragma unroll
    for (u32 i = 0; i < Columns<T>::WIDTH; i++)
      if (i < columns.width()) squares += v[i] * v[i];
  }
  float r = 1.0f / sqrtf(block_reduce(squares, Add()) / (float)h + eps);
  if (threadIdx.x == 0) rstd[blockIdx.x] = r;
  for (u32 piece = threadIdx.x; piece < columns.count; piece += blockDim.x) {
    float v[Columns<T>::WIDTH];
    columns.load(from, piece, v);
#pragma unroll
    for (u32 i = 0; i < Columns<T>::WIDTH; i++)
      if (i < columns.width()) v[i] = v[i] * r * w[columns.first(piece) + i];
    columns.store(y + (u64)blockIdx.x * h, piece, v);
  }
}

// With s = sum_i dy_i w_i x_i: dx_i = dy_i w_i r - x_i s r^3 / h. A block takes `rows_each` rows after one another and leaves the sum of
// their dy_i x_i r in its row of parts[blocks, h]; every thread adds to columns that no other touches.
template <class T>
__device__ __forceinline__ void rms_norm_backward(const T* dy, const T* x, const float* w, const float* rstd, T* dx, float* parts,
                                                  u32 rows, u32 rows_each, u32 h) {
  __shared__ float dw[NORM_WIDTH];
  Columns<T> columns(h);
  for (u32 i = threadIdx.x; i < h; i += blockDim.x) dw[i] = 0.0f;
  __syncthreads();
  u32 first = blockIdx.x * rows_each, last = first + rows_each < rows ? first + rows_each : rows;
  for (u32 row = first; row < last; row++) {
    const T *gradient = dy + (u64)row * h, *from = x + (u64)row * h;
    float inner = 0.0f, r = rstd[row];
    for (u32 piece = threadIdx.x; piece < columns.count; piece += blockDim.x) {
      float d[Columns<T>::WIDTH], v[Columns<T>::WIDTH];
      columns.load(gradient, piece, d);
      columns.load(from, piece, v);
#pragma unroll
      for (u32 i = 0; i < Columns<T>::WIDTH; i++)
        if (i < columns.width()) inner += d[i] * w[columns.first(piece) + i] * v[i];
    }
    float pull = block_reduce(inner, Add()) * r * r * r / (float)h;
    for (u32 piece = threadIdx.x; piece < columns.count; piece += blockDim.x) {
      float d[Columns<T>::WIDTH], v[Columns<T>::WIDTH];
      columns.load(gradient, piece, d);
      columns.load(from, piece, v);
#pragma unroll
      for (u32 i = 0; i < Columns<T>::WIDTH; i++) {
        if (i >= columns.width()) continue;
        u32 column = columns.first(piece) + i;
        dw[column] += d[i] * v[i] * r;
        d[i] = d[i] * w[column] * r - v[i] * pull;
      }
      columns.store(dx + (u64)row * h, piece, d);
    }
  }
  __syncthreads();
  for (u32 i = threadIdx.x; i < h; i += blockDim.x) parts[(u64)blockIdx.x * h + i] = dw[i];
}

extern "C" __global__ void __launch_bounds__(NORM_THREADS) rms_norm_f32(const float* x, const float* w, float* y, float* rstd, float eps,
    u32 h) {
  rms_norm(x, w, y, rstd, eps, h);
}

extern "C" __global__ void __launch_bounds__(NORM_THREADS) rms_norm_bf16(const bf16* x, const float* w, bf16* y, float* rstd, float eps,
    u32 h) {
  rms_norm(x, w, y, rstd, eps, h);
}

extern "C" __global__ void __launch_bounds__(NORM_THREADS) rms_norm_backward_f32(const float* dy, const float* x, const float* w,
    const float* rstd, float* dx, float* parts, u32 rows, u32 rows_each, u32 h) {
  rms_norm_backward(dy, x, w, rstd, dx, parts, rows, rows_each, h);
}

extern "C" __global__ void __launch_bounds__(NORM_THREADS) rms_norm_backward_bf16(const bf16* dy, const bf16* x, const float* w,
    const float* rstd, bf16* dx, float* parts, u32 rows, u32 rows_each, u32 h) {
  rms_norm_backward(dy, x, w, rstd, dx, parts, rows, rows_each, h);
}
