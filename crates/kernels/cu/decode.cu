// Attention of a few new tokens over what is cached for their slots, for generation.
//
// Keys and values lie in caches [slots, kv_heads, positions, d], keys already turned. A row attends to its own position and all before;
// positions are read in chunks of DECODE_CHUNK, one block each, and chunks are put together afterwards. Chunks do not depend on
// which other rows there are, so neither does what a row computes. The query heads that share a key head are computed together: keys
// and values are read once for all of them.

#define DECODE_CHUNK 256
#define DECODE_TILE 32
#define DECODE_WIDTH 256
// A tile's row in shared memory: four numbers more than a head, so that lanes which read one column of 32 rows find it in all banks.
#define DECODE_STRIDE (DECODE_WIDTH + 4)

// Where a row's conversation is kept, and where in it the row stands; laid out as the host's struct.
struct CacheRow {
  u32 slot, position;
};

__device__ __forceinline__ u64 cached(CacheRow row, u32 head, u32 position, u32 kv_heads, u32 positions, u32 d) {
  return (((u64)row.slot * kv_heads + head) * positions + position) * d;
}

// Component c of a head turned to a position whose table rows are given.
template <class T>
__device__ __forceinline__ float turned(const T* head, const float* cosines, const float* sines, u32 half, u32 c) {
  if (c < half) return widen(head[c]) * cosines[c] - widen(head[c + half]) * sines[c];
  return widen(head[c]) * cosines[c - half] + widen(head[c - half]) * sines[c - half];
}

// Keys and values of qkv[rows, (heads + 2 kv_heads) d] go to the cache; one block a row and key head. What lies outside the cache is
// not written.
template <class T>
__device__ __forceinline__ void append(const T* qkv, const CacheRow* rows, const float* cosines, const float* sines, T* keys, T* values,
                                       u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  CacheRow row = rows[blockIdx.x];
  if (row.slot >= slots || row.position >= positions) return;
  u32 half = d / 2;
  const T* key = qkv + ((u64)blockIdx.x * (heads + 2 * kv_heads) + heads + blockIdx.y) * d;
  const T* value = key + (u64)kv_heads * d;
  const float *cosine = cosines + (u64)row.position * half, *sine = sines + (u64)row.position * half;
  u64 to = cached(row, blockIdx.y, row.position, kv_heads, positions, d);
  for (u32 c = threadIdx.x; c < d; c += blockDim.x) {
    narrow(turned(key, cosine, sine, half, c), keys + to + c);
    values[to + c] = value[c];
  }
}

// Tiles are read whole if rows of the cache begin at 16 bytes; what reaches over a head's width, up to four, is 0.
template <class T>
__device__ __forceinline__ void read_tile(float (*tile)[DECODE_STRIDE], const T* from, u32 count, u32 d) {
  Columns<T> columns(d);
  for (u32 i = threadIdx.x; i < DECODE_TILE * columns.count; i += blockDim.x) {
    u32 j = i / columns.count, piece = i % columns.count;
    float x[Columns<T>::WIDTH] = {};
    if (j < count) columns.load(from + (u64)j * d, piece, x);
#pragma unroll
    for (u32 k = 0; k < Columns<T>::WIDTH; k++)
      if (k < columns.width()) tile[j][columns.first(piece) + k] = x[k];
  }
  u32 rest = (4 - d % 4) % 4;
  for (u32 i = threadIdx.x; i < DECODE_TILE * rest; i += blockDim.x) tile[i / rest][d + i % rest] = 0.0f;
}

// One block a chunk (x), key head (y) and row (z); a key head of more than GROUP query heads has several blocks. Writes, for every query head, sum_j e^(s_j - m) v_j, m and sum_j e^(s_j - m) to
// parts[rows, heads, chunks, d + 2].
template <class T, u32 GROUP>
__device__ __forceinline__ void attend_chunk(const T* qkv, const CacheRow* rows, const float* cosines, const float* sines, const T* keys,
                                             const T* values, float* parts, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  alignas(16) __shared__ float tile[DECODE_TILE][DECODE_STRIDE];
  alignas(16) __shared__ float queries[GROUP][DECODE_STRIDE];
  __shared__ float quarters[4][GROUP][DECODE_TILE];
  __shared__ float weights[GROUP][DECODE_TILE];
  __shared__ float largest[GROUP], sums[GROUP], shrink[GROUP];
  CacheRow row = rows[blockIdx.z];
  u32 start = blockIdx.x * DECODE_CHUNK, shared = heads / kv_heads, blocks = (shared + GROUP - 1) / GROUP;
  u32 kv_head = blockIdx.y / blocks, skipped = blockIdx.y % blocks * GROUP;
  u32 head = kv_head * shared + skipped, group = shared - skipped < GROUP ? shared - skipped : GROUP;
  if (row.slot >= slots || row.position >= positions || start > row.position) return;
  u32 end = row.position + 1 < start + DECODE_CHUNK ? row.position + 1 : start + DECODE_CHUNK;
  u32 half = d / 2, padded = (d + 3) & ~3u, lane = threadIdx.x & 31u, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;

  const T* query = qkv + ((u64)blockIdx.z * (heads + 2 * kv_heads) + head) * d;
  float scale = 1.0f / sqrtf((float)d);
  for (u32 i = threadIdx.x; i < GROUP * padded; i += blockDim.x) {
    u32 g = i / padded, c = i % padded;
    bool there = g < group && c < d;
    queries[g][c] = there ? turned(query + (u64)g * d, cosines + (u64)row.position * half, sines + (u64)row.position * half, half, c) * scale
                          : 0.0f;
  }
  if (threadIdx.x < GROUP) {
    largest[threadIdx.x] = NEG_INF;
    sums[threadIdx.x] = 0.0f;
  }

  // A thread sums one component over every `stride`-th position, for all heads of the group.
  u32 stride = blockDim.x / d, column = threadIdx.x % d, offset = threadIdx.x / d;
  float sum[GROUP] = {};
  for (u32 first = start; first < end; first += DECODE_TILE) {
    u32 count = end - first < DECODE_TILE ? end - first : DECODE_TILE;
    read_tile(tile, keys + cached(row, kv_head, first, kv_heads, positions, d), count, d);
    __syncthreads();
    // Scores: a lane has a position, one of four warps a quarter of the components.
    if (warp < 4) {
      float dot[GROUP] = {};
      for (u32 c = warp * 4; c < padded; c += 16) {
        float4 k = *(const float4*)&tile[lane][c];
#pragma unroll
        for (u32 g = 0; g < GROUP; g++) {
          float4 q = *(const float4*)&queries[g][c];
          dot[g] += k.x * q.x + k.y * q.y + k.z * q.z + k.w * q.w;
        }
      }
#pragma unroll
      for (u32 g = 0; g < GROUP; g++) quarters[warp][g][lane] = dot[g];
    }
    __syncthreads();
    for (u32 g = warp; g < GROUP; g += warps) {
      float score = lane < count ? (quarters[0][g][lane] + quarters[1][g][lane]) + (quarters[2][g][lane] + quarters[3][g][lane]) : NEG_INF;
      float before = largest[g], now = Largest()(before, warp_reduce(score, Largest()));
      float weight = lane < count ? expf(score - now) : 0.0f, added = warp_reduce(weight, Add());
      weights[g][lane] = weight;
      __syncwarp();
      if (lane == 0) {
        shrink[g] = expf(before - now);
        sums[g] = sums[g] * shrink[g] + added;
        largest[g] = now;
      }
    }
    __syncthreads();
    if (offset < stride) {
      const T* value = values + cached(row, kv_head, first, kv_heads, positions, d) + column;
#pragma unroll
      for (u32 g = 0; g < GROUP; g++) sum[g] *= shrink[g];
#pragma unroll 4
      for (u32 j = offset; j < count; j += stride) {
        float v = widen(value[(u64)j * d]);
#pragma unroll
        for (u32 g = 0; g < GROUP; g++) sum[g] += weights[g][j] * v;
      }
    }
  }
  // The positions' shares are added up in the tile, which is no longer needed.
  __syncthreads();
  float* shares = &tile[0][0];
#pragma unroll
  for (u32 g = 0; g < GROUP; g++) {
    if (offset < stride) shares[offset * d + column] = sum[g];
    __syncthreads();
    u64 part = ((((u64)blockIdx.z * heads + head + g) * gridDim.x) + blockIdx.x) * (d + 2);
    if (offset == 0 && g < group) {
      float all = 0.0f;
      for (u32 i = 0; i < stride; i++) all += shares[i * d + column];
      parts[part + column] = all;
      if (column == 0) {
        parts[part + d] = largest[g];
        parts[part + d + 1] = sums[g];
      }
    }
    __syncthreads();
  }
}

// out[rows, heads d] from all chunks, in order; one block a row and head. A row outside the cache, or beyond the chunks there are, gets NaN.
template <class T>
__device__ __forceinline__ void join_chunks(const float* parts, const CacheRow* rows, T* out, u32 chunks, u32 slots, u32 positions, u32 d) {
  CacheRow row = rows[blockIdx.x];
  bool inside = row.slot < slots && row.position < positions && row.position / DECODE_CHUNK < chunks;
  u32 used = inside ? row.position / DECODE_CHUNK + 1 : 0;
  u64 head = (u64)blockIdx.x * gridDim.y + blockIdx.y;
  const float* own = parts + head * chunks * (d + 2);
  float largest = NEG_INF, sum = 0.0f;
  for (u32 i = 0; i < used; i++) largest = Largest()(largest, own[i * (d + 2) + d]);
  for (u32 i = 0; i < used; i++) sum += own[i * (d + 2) + d + 1] * expf(own[i * (d + 2) + d] - largest);
  for (u32 c = threadIdx.x; c < d; c += blockDim.x) {
    float all = 0.0f;
    for (u32 i = 0; i < used; i++) all += own[i * (d + 2) + c] * expf(own[i * (d + 2) + d] - largest);
    narrow(inside ? all / sum : NOT_A_NUMBER, out + head * d + c);
  }
}

extern "C" __global__ void __launch_bounds__(256) append_f32(const float* qkv, const CacheRow* rows, const float* cosines,
    const float* sines, float* keys, float* values, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  append(qkv, rows, cosines, sines, keys, values, heads, kv_heads, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256) append_bf16(const bf16* qkv, const CacheRow* rows, const float* cosines,
    const float* sines, bf16* keys, bf16* values, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  append(qkv, rows, cosines, sines, keys, values, heads, kv_heads, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256, 1) attend_f32_1(const float* qkv, const CacheRow* rows, const float* cosines,
    const float* sines, const float* keys, const float* values, float* parts, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  attend_chunk<float, 1>(qkv, rows, cosines, sines, keys, values, parts, heads, kv_heads, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256, 1) attend_f32_2(const float* qkv, const CacheRow* rows, const float* cosines,
    const float* sines, const float* keys, const float* values, float* parts, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  attend_chunk<float, 2>(qkv, rows, cosines, sines, keys, values, parts, heads, kv_heads, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256, 1) attend_f32_4(const float* qkv, const CacheRow* rows, const float* cosines,
    const float* sines, const float* keys, const float* values, float* parts, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  attend_chunk<float, 4>(qkv, rows, cosines, sines, keys, values, parts, heads, kv_heads, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256, 1) attend_f32_8(const float* qkv, const CacheRow* rows, const float* cosines,
    const float* sines, const float* keys, const float* values, float* parts, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  attend_chunk<float, 8>(qkv, rows, cosines, sines, keys, values, parts, heads, kv_heads, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256, 1) attend_bf16_1(const bf16* qkv, const CacheRow* rows, const float* cosines,
    const float* sines, const bf16* keys, const bf16* values, float* parts, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  attend_chunk<bf16, 1>(qkv, rows, cosines, sines, keys, values, parts, heads, kv_heads, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256, 1) attend_bf16_2(const bf16* qkv, const CacheRow* rows, const float* cosines,
    const float* sines, const bf16* keys, const bf16* values, float* parts, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  attend_chunk<bf16, 2>(qkv, rows, cosines, sines, keys, values, parts, heads, kv_heads, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256, 1) attend_bf16_4(const bf16* qkv, const CacheRow* rows, const float* cosines,
    const float* sines, const bf16* keys, const bf16* values, float* parts, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  attend_chunk<bf16, 4>(qkv, rows, cosines, sines, keys, values, parts, heads, kv_heads, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256, 1) attend_bf16_8(const bf16* qkv, const CacheRow* rows, const float* cosines,
    const float* sines, const bf16* keys, const bf16* values, float* parts, u32 heads, u32 kv_heads, u32 slots, u32 positions, u32 d) {
  attend_chunk<bf16, 8>(qkv, rows, cosines, sines, keys, values, parts, heads, kv_heads, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256) join_f32(const float* parts, const CacheRow* rows, float* out, u32 chunks,
    u32 slots, u32 positions, u32 d) {
  join_chunks(parts, rows, out, chunks, slots, positions, d);
}

extern "C" __global__ void __launch_bounds__(256) join_bf16(const float* parts, const CacheRow* rows, bf16* out, u32 chunks,
    u32 slots, u32 positions, u32 d) {
  join_chunks(parts, rows, out, chunks, slots, positions, d);
}

// The first `tokens` positions of slot `from` to slot `to`, one block a token (x) and key head (y).
extern "C" __global__ void __launch_bounds__(128) copy_slot_f32(float* keys, float* values, u32 from, u32 to, u32 kv_heads, u32 positions,
    u32 d) {
  u64 source = cached(CacheRow{from, blockIdx.x}, blockIdx.y, blockIdx.x, kv_heads, positions, d);
  u64 target = cached(CacheRow{to, blockIdx.x}, blockIdx.y, blockIdx.x, kv_heads, positions, d);
  for (u32 c = threadIdx.x; c < d; c += blockDim.x) {
    keys[target + c] = keys[source + c];
    values[target + c] = values[source + c];
  }
}
