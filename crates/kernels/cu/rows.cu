// Rows by index, and sums of rows and of columns. No sum is taken by atomics: what is added to a row comes in the order of a list.

#define ROWS_THREADS 256

// to[first + i, :] = from[rows[i], :], one block a row.
extern "C" __global__ void __launch_bounds__(ROWS_THREADS) gather_rows_f32(const float* from, const u32* rows, float* to, u32 first,
    u32 width) {
  Columns<float> columns(width);
  const float* row = from + (u64)rows[blockIdx.x] * width;
  float* out = to + ((u64)first + blockIdx.x) * width;
  for (u32 piece = threadIdx.x; piece < columns.count; piece += blockDim.x) {
    float x[Columns<float>::WIDTH];
    columns.load(row, piece, x);
    columns.store(out, piece, x);
  }
}

// to[targets[i], :] += sum of from[sources[j], :] over starts[i] <= j < starts[i + 1], in that order; one block a target.
extern "C" __global__ void __launch_bounds__(ROWS_THREADS) scatter_rows_f32(const float* from, const u32* targets, const u32* starts,
    const u32* sources, float* to, u32 width) {
  Columns<float> columns(width);
  float* out = to + (u64)targets[blockIdx.x] * width;
  u32 start = starts[blockIdx.x], end = starts[blockIdx.x + 1];
  for (u32 piece = threadIdx.x; piece < columns.count; piece += blockDim.x) {
    float sum[Columns<float>::WIDTH] = {};
    for (u32 j = start; j < end; j++) {
      float x[Columns<float>::WIDTH] = {};
      columns.load(from + (u64)sources[j] * width, piece, x);
#pragma unroll
      for (u32 i = 0; i < Columns<float>::WIDTH; i++) sum[i] += x[i];
    }
    float held[Columns<float>::WIDTH] = {};
    columns.load(out, piece, held);
#pragma unroll
    for (u32 i = 0; i < Columns<float>::WIDTH; i++) held[i] += sum[i];
    columns.store(out, piece, held);
  }
}

// y += x, a piece of four to a thread.
extern "C" __global__ void __launch_bounds__(ROWS_THREADS) add_f32(const float* x, float* y, u64 n) {
  u64 first = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (first + 4 <= n) {
    float a[4], b[4];
    Piece<float>::load(x + first, a);
    Piece<float>::load(y + first, b);
#pragma unroll
    for (u32 i = 0; i < 4; i++) b[i] += a[i];
    Piece<float>::store(y + first, b);
  } else {
    for (u64 i = first; i < n; i++) y[i] += x[i];
  }
}

// y[row, :] += bias, one block a row.
extern "C" __global__ void __launch_bounds__(ROWS_THREADS) add_bias_f32(float* y, const float* bias, u32 width) {
  for (u32 column = threadIdx.x; column < width; column += blockDim.x) y[(u64)blockIdx.x * width + column] += bias[column];
}

// parts[b, :] = sum over the b-th `rows_each` rows of x[rows, width], one thread a column (x) and part (y).
extern "C" __global__ void __launch_bounds__(ROWS_THREADS) sum_columns_f32(const float* x, float* parts, u32 rows, u32 rows_each,
    u32 width) {
  u32 column = blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= width) return;
  u32 first = blockIdx.y * rows_each, last = first + rows_each < rows ? first + rows_each : rows;
  float sum = 0.0f;
  for (u32 row = first; row < last; row++) sum += x[(u64)row * width + column];
  parts[(u64)blockIdx.y * width + column] = sum;
}

// to[:] += the sum of all rows of parts[rows, width], one thread a column.
extern "C" __global__ void __launch_bounds__(ROWS_THREADS) add_parts_f32(const float* parts, float* to, u32 rows, u32 width) {
  u32 column = blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= width) return;
  float sum = 0.0f;
  for (u32 row = 0; row < rows; row++) sum += parts[(u64)row * width + column];
  to[column] += sum;
}
