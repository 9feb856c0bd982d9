// Root-mean-square norm of parts of a row: `groups` of `h` columns from column `start` on, each by itself and all with the same weights. A
// warp takes a group. What lies outside is not touched.

#define HEAD_NORM_THREADS 256
#define HEAD_NORM_WIDTH 256
#define HEAD_NORM_EACH (HEAD_NORM_WIDTH / 32)

extern "C" __global__ void __launch_bounds__(HEAD_NORM_THREADS) head_norm_f32(const float* x, const float* w, float* y, float eps,
    u32 rows, u32 width, u32 start, u32 groups, u32 h) {
  u64 group = ((u64)blockIdx.x * blockDim.x + threadIdx.x) >> 5;
  if (group >= (u64)rows * groups) return;
  u32 lane = threadIdx.x & 31u;
  u64 at = group / groups * width + start + group % groups * h;
  float squares = 0.0f;
  for (u32 i = lane; i < h; i += 32) squares += x[at + i] * x[at + i];
  float r = 1.0f / sqrtf(warp_reduce(squares, Add()) / (float)h + eps);
  for (u32 i = lane; i < h; i += 32) y[at + i] = x[at + i] * r * w[i];
}

// dx over dy, and in parts[blocks, h] what the weights receive of each block's `rows_each` rows.
extern "C" __global__ void __launch_bounds__(HEAD_NORM_THREADS) head_norm_backward_f32(const float* dy, const float* x, const float* w,
    float* dx, float* parts, float eps, u32 rows, u32 rows_each, u32 width, u32 start, u32 groups, u32 h) {
  u32 lane = threadIdx.x & 31u, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  u32 first = blockIdx.x * rows_each, last = first + rows_each < rows ? first + rows_each : rows;
  float dw[HEAD_NORM_EACH] = {};
  for (u32 group = warp; group < (last - first) * groups; group += warps) {
    u64 at = (u64)(first + group / groups) * width + start + (u64)(group % groups) * h;
    float squares = 0.0f, inner = 0.0f;
    for (u32 i = lane; i < h; i += 32) {
      squares += x[at + i] * x[at + i];
      inner += dy[at + i] * w[i] * x[at + i];
    }
    float r = 1.0f / sqrtf(warp_reduce(squares, Add()) / (float)h + eps);
    float pull = warp_reduce(inner, Add()) * r * r * r / (float)h;
#pragma unroll
    for (u32 k = 0; k < HEAD_NORM_EACH; k++) {
      u32 i = lane + 32 * k;
      if (i >= h) continue;
      dw[k] += dy[at + i] * x[at + i] * r;
      dx[at + i] = dy[at + i] * w[i] * r - x[at + i] * pull;
    }
  }
  __shared__ float all[HEAD_NORM_THREADS / 32][HEAD_NORM_WIDTH];
#pragma unroll
  for (u32 k = 0; k < HEAD_NORM_EACH; k++) all[warp][lane + 32 * k] = dw[k];
  __syncthreads();
  for (u32 i = threadIdx.x; i < h; i += blockDim.x) {
    float sum = 0.0f;
    for (u32 k = 0; k < warps; k++) sum += all[k][i];
    parts[(u64)blockIdx.x * h + i] = sum;
  }
}
