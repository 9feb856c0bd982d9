// What the backward pass of attention begins and ends with.

#define SUMS_THREADS 128
// As in attention.cu.
#define PART_ROWS 64

// Keys that follow one another from row `first` on, and the parts that make up their gradient; laid out as the host's struct.
struct JoinedBlock {
  u32 first, count, begin, end;
};

// delta[rows] = out . d_out, a row being one head of a token; one warp a row.
template <class T>
__device__ __forceinline__ void attention_delta(const T* out, const T* d_out, float* delta, u64 rows, u32 d) {
  u64 row = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (row >= rows) return;
  float sum = 0.0f;
  for (u32 c = threadIdx.x & 31u; c < d; c += 32) sum += widen(out[row * d + c]) * widen(d_out[row * d + c]);
  sum = warp_reduce(sum, Add());
  if ((threadIdx.x & 31u) == 0) delta[row] = sum;
}

// Keys' and values' parts of d_qkv[tokens, (heads + 2 kv_heads) d] from parts[.., kv_heads, 2, PART_ROWS, d], in order; one block a key
// head and JoinedBlock.
template <class T>
__device__ __forceinline__ void attention_join(const float* parts, const JoinedBlock* blocks, T* d_qkv, u32 heads, u32 kv_heads, u32 d) {
  JoinedBlock block = blocks[blockIdx.x / kv_heads];
  u32 kv_head = blockIdx.x % kv_heads;
  for (u32 i = threadIdx.x; i < 2 * block.count * d; i += blockDim.x) {
    u32 column = i % d, row = i / d % block.count, values = i / d / block.count;
    float sum = 0.0f;
    for (u32 part = block.begin; part < block.end; part++)
      sum += parts[((((u64)part * kv_heads + kv_head) * 2 + values) * PART_ROWS + row) * d + column];
    u32 head = heads + values * kv_heads + kv_head;
    narrow(sum, d_qkv + ((u64)(block.first + row) * (heads + 2 * kv_heads) + head) * d + column);
  }
}

extern "C" __global__ void __launch_bounds__(SUMS_THREADS) attention_delta_f32(const float* out, const float* d_out, float* delta,
    u64 rows, u32 d) {
  attention_delta(out, d_out, delta, rows, d);
}

extern "C" __global__ void __launch_bounds__(SUMS_THREADS) attention_delta_bf16(const bf16* out, const bf16* d_out, float* delta,
    u64 rows, u32 d) {
  attention_delta(out, d_out, delta, rows, d);
}

extern "C" __global__ void __launch_bounds__(SUMS_THREADS) attention_join_f32(const float* parts, const JoinedBlock* blocks, float* d_qkv,
    u32 heads, u32 kv_heads, u32 d) {
  attention_join(parts, blocks, d_qkv, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(SUMS_THREADS) attention_join_bf16(const float* parts, const JoinedBlock* blocks, bf16* d_qkv,
    u32 heads, u32 kv_heads, u32 d) {
  attention_join(parts, blocks, d_qkv, heads, kv_heads, d);
}
