// Sums in a fixed order, in f64: parts of a fixed size first, then the parts.

#define SUM_THREADS 256
#define SUM_CHUNK 16384

// parts[b] = sum over the b-th SUM_CHUNK numbers of x^2.
extern "C" __global__ void __launch_bounds__(SUM_THREADS) sum_of_squares_f32(const float* x, double* parts, u64 n) {
  u64 start = (u64)blockIdx.x * SUM_CHUNK;
  Row<float> row(x + start, (u32)(n - start < SUM_CHUNK ? n - start : SUM_CHUNK));
  double sum = 0;
  for (u32 slot = threadIdx.x; slot < row.slots(); slot += blockDim.x) {
    float piece[4];
    row.load(slot, piece, 0.0f);
    for (u32 i = 0; i < 4; i++) sum += (double)piece[i] * piece[i];
  }
  sum = block_reduce(sum, Add());
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// total[c] = sum over rows of parts[rows, columns]: one block a column.
extern "C" __global__ void __launch_bounds__(SUM_THREADS) sum_rows_f64(const double* parts, double* total, u32 rows, u32 columns) {
  double sum = 0;
  for (u32 r = threadIdx.x; r < rows; r += blockDim.x) sum += parts[(u64)r * columns + blockIdx.x];
  sum = block_reduce(sum, Add());
  if (threadIdx.x == 0) total[blockIdx.x] = sum;
}
