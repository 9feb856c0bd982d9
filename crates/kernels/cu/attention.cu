// Causal grouped-query attention over packed segments and its gradient, for training, in the manner of FlashAttention-2 (Dao,
// arXiv:2307.08691): scores exist only as a tile of a block, in f32, and of a row only the log-sum-exp of its scores is kept.
//
// A row of qkv[tokens, (heads + 2 kv_heads) d] holds its queries and keys, already turned, and its values. Query head h reads key head
// h / (heads / kv_heads). A token sees the whole parent of its segment, then its own segment up to and including itself.
//
// Every kernel exists for heads of up to 64, 128 and 256: WIDTH is what a block has room for, d what there is.

#define ATTENTION_THREADS 128
// Queries, and keys, that meet in one tile of scores at the most.
#define ATTENTION_TILE 64
// A tile's row in shared memory. Lanes of a warp that write their own columns of four rows, or read four rows, find them in all banks.
#define ATTENTION_STRIDE (ATTENTION_TILE + 8)
// Scores are summed over so many components at a time; four more let eight lanes read a column of eight rows from all banks.
#define DOT_DEPTH 32
#define DOT_STRIDE (DOT_DEPTH + 4)
// Numbers of the rows that are mixed at a time.
#define MIX_CHUNK 4096
#define LN_2 0.693147181f

// Queries that follow one another in a segment, from row `first` on; rows of the segment begin at `own`, and those of its parent, of which
// there are `before`, at `parent`. Laid out as the host's struct, as are the next two.
struct QueryBlock {
  u32 first, count, own, parent, before;
};

// Keys that follow one another in a segment, from row `first` on, and runs[begin..end] of rows that see them, in order; a row above a key
// does not see it. If other blocks have the same keys and more rows, sums go to that one of `parts`.
struct KeyBlock {
  u32 first, count, begin, end, part;
};

#define NO_PART 0xffffffffu

struct Run {
  u32 first, end;
};

// One head of `count` tokens: of `before` that begin at row `parent`, then of those from `own` on.
template <class T>
struct HeadRows {
  T* head;
  u32 stride, before, parent, own, count;

  __device__ __forceinline__ T* at(u32 i) const { return head + (u64)(i < before ? parent + i : own + (i - before)) * stride; }
};

template <class T>
__device__ __forceinline__ HeadRows<T> head_rows(T* rows, u32 heads, u32 head, u32 d, u32 first, u32 count) {
  return HeadRows<T>{rows + (u64)head * d, heads * d, 0, 0, first, count};
}

// All that the last of a block's queries sees.
template <class T>
__device__ __forceinline__ HeadRows<T> seen_rows(T* rows, u32 heads, u32 head, u32 d, QueryBlock block) {
  u32 count = block.before + (block.first - block.own) + block.count;
  return HeadRows<T>{rows + (u64)head * d, heads * d, block.before, block.parent, block.own, count};
}

__device__ __forceinline__ void copy_four(float* to, const float* x) { *(float4*)to = *(const float4*)x; }
__device__ __forceinline__ void copy_four(bf16* to, const float* x) {
  alignas(8) bf16 four[4];
#pragma unroll
  for (u32 i = 0; i < 4; i++) narrow(x[i], four + i);
  *(u64*)to = *(const u64*)four;
}

// Threads stand in lines of LANES. Of a tile with ROWS rows, a thread has EACH rows, and of those ACROSS columns of scores or PIECES times
// four numbers of what is mixed. What a thread touches of shared memory lies at fixed distances from a pointer of its own, so that one
// register is enough to address it.
template <class T, u32 WIDTH, u32 ROWS, u32 LANES>
struct AttentionBlock {
  static const u32 LINES = ATTENTION_THREADS / LANES, EACH = ROWS / LINES, ACROSS = ATTENTION_TILE / LANES;
  static const u32 PIECES = WIDTH / (4 * LANES), MIXED = MIX_CHUNK / WIDTH;
  static const u32 CHUNK = (ROWS + ATTENTION_TILE) * DOT_STRIDE > MIX_CHUNK ? (ROWS + ATTENTION_TILE) * DOT_STRIDE : MIX_CHUNK;
  float *chunk, *weights;
  u32 d, line, lane;

  __device__ __forceinline__ AttentionBlock(float* chunk, float (*tile)[ATTENTION_STRIDE], u32 d)
      : chunk(chunk), weights(tile[threadIdx.x / LANES]), d(d), line(threadIdx.x / LANES), lane(threadIdx.x % LANES) {}

  __device__ __forceinline__ u32 row(u32 r) const { return line + LINES * r; }
  __device__ __forceinline__ u32 column(u32 c) const { return lane + LANES * c; }
  // The weight at row(r) and column(c).
  __device__ __forceinline__ float& weight(u32 r, u32 c) const { return (weights + lane)[LINES * ATTENTION_STRIDE * r + LANES * c]; }

  // Columns `first` to `first + N` of M rows from `from` on, side by side at `to`; 0 where there are none.
  template <u32 M, u32 N, u32 STRIDE>
  __device__ __forceinline__ void read(float* to, const HeadRows<const T>& rows, u32 from, u32 first) const {
    const u32 IN_PIECE = Piece<T>::WIDTH, IN_ROW = N / IN_PIECE, AT_ONCE = ATTENTION_THREADS / IN_ROW;
    if (d % IN_PIECE == 0) {
      u32 column = threadIdx.x % IN_ROW * IN_PIECE;
      float* own = to + threadIdx.x / IN_ROW * STRIDE + column;
#pragma unroll
      for (u32 k = 0; k < M / AT_ONCE; k++) {
        u32 row = from + threadIdx.x / IN_ROW + k * AT_ONCE;
        alignas(16) float x[IN_PIECE] = {};
        if (row < rows.count && first + column < d) Piece<T>::load(rows.at(row) + first + column, x);
#pragma unroll
        for (u32 j = 0; j < IN_PIECE; j += 4) copy_four(own + k * AT_ONCE * STRIDE + j, x + j);
      }
    } else {
#pragma unroll 1
      for (u32 i = threadIdx.x; i < M * N; i += ATTENTION_THREADS) {
        u32 row = i / N, column = i % N;
        bool there = from + row < rows.count && first + column < d;
        to[row * STRIDE + column] = there ? widen(rows.at(from + row)[first + column]) : 0.0f;
      }
    }
  }

  // to[r][c] = a_row(r) . b_(from + column(c)).
  __device__ __forceinline__ void dots(float (&to)[EACH][ACROSS], const HeadRows<const T>& a, const HeadRows<const T>& b, u32 from) const {
#pragma unroll
    for (u32 r = 0; r < EACH; r++)
#pragma unroll
      for (u32 c = 0; c < ACROSS; c++) to[r][c] = 0.0f;
    const float *own_a = chunk + line * DOT_STRIDE, *own_b = chunk + ROWS * DOT_STRIDE + lane * DOT_STRIDE;
    for (u32 first = 0; first < d; first += DOT_DEPTH) {
      read<ROWS, DOT_DEPTH, DOT_STRIDE>(chunk, a, 0, first);
      read<ATTENTION_TILE, DOT_DEPTH, DOT_STRIDE>(chunk + ROWS * DOT_STRIDE, b, from, first);
      __syncthreads();
#pragma unroll 1
      for (u32 k = 0; k < DOT_DEPTH; k += 4) {
        float4 x[EACH];
#pragma unroll
        for (u32 r = 0; r < EACH; r++) x[r] = *(const float4*)(own_a + k + LINES * DOT_STRIDE * r);
#pragma unroll
        for (u32 c = 0; c < ACROSS; c++) {
          float4 y = *(const float4*)(own_b + k + LANES * DOT_STRIDE * c);
#pragma unroll
          for (u32 r = 0; r < EACH; r++) {
            to[r][c] += x[r].x * y.x;
            to[r][c] += x[r].y * y.y;
            to[r][c] += x[r].z * y.z;
            to[r][c] += x[r].w * y.w;
          }
        }
      }
      __syncthreads();
    }
  }

  // to[r] += sum_j weight_(row(r))j b_(from + j), over what there is of a tile.
  __device__ __forceinline__ void mix(float (&to)[EACH][4 * PIECES], const HeadRows<const T>& b, u32 from) const {
    for (u32 first = 0; first < ATTENTION_TILE && from + first < b.count; first += MIXED) {
      read<MIXED, WIDTH, WIDTH>(chunk, b, from + first, 0);
      __syncthreads();
#pragma unroll 1
      for (u32 j = 0; j < MIXED; j += 4) {
        alignas(16) float w[EACH][4];
#pragma unroll
        for (u32 r = 0; r < EACH; r++) copy_four(w[r], weights + first + j + LINES * ATTENTION_STRIDE * r);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
#pragma unroll
          for (u32 p = 0; p < PIECES; p++) {
            float4 x = *(const float4*)(chunk + lane * 4 + j * WIDTH + (i * WIDTH + p * LANES * 4));
#pragma unroll
            for (u32 r = 0; r < EACH; r++) {
              to[r][4 * p] += w[r][i] * x.x;
              to[r][4 * p + 1] += w[r][i] * x.y;
              to[r][4 * p + 2] += w[r][i] * x.z;
              to[r][4 * p + 3] += w[r][i] * x.w;
            }
          }
        }
      }
      __syncthreads();
    }
  }

  template <class U>
  __device__ __forceinline__ void store(const float (&from)[EACH][4 * PIECES], const HeadRows<U>& rows) const {
#pragma unroll
    for (u32 r = 0; r < EACH; r++) {
      if (row(r) >= rows.count) continue;
      U* to = rows.at(row(r));
#pragma unroll
      for (u32 p = 0; p < PIECES; p++) {
        u32 first = (p * LANES + lane) * 4;
        if (d % 4 == 0) {
          alignas(16) float x[4] = {from[r][4 * p], from[r][4 * p + 1], from[r][4 * p + 2], from[r][4 * p + 3]};
          if (first < d) copy_four(to + first, x);
        } else {
#pragma unroll
          for (u32 i = 0; i < 4; i++)
            if (first + i < d) narrow(from[r][4 * p + i], to + first + i);
        }
      }
    }
  }
};

// Over the lanes of a line.
template <u32 LANES, class F>
__device__ __forceinline__ float line_reduce(float x, F combine) {
#pragma unroll
  for (u32 step = LANES / 2; step > 0; step >>= 1) x = combine(x, __shfl_xor_sync(FULL_WARP, x, step));
  return x;
}

// Of a tile's queries, which begin at row `first` and of which there are `count`: the log-sum-exp to base 2, and delta. Where there is no
// query its weights become 0.
__device__ __forceinline__ void read_sums(float* lses, float* deltas, const float* lse, const float* delta, u32 heads, u32 head, u32 first,
                                          u32 count) {
  u32 i = threadIdx.x;
  if (i >= ATTENTION_TILE) return;
  u64 at = (u64)(first + i) * heads + head;
  lses[i] = i < count ? lse[at] * LOG2_E : POS_INF;
  deltas[i] = i < count ? delta[at] : 0.0f;
}

// out[tokens, heads d] and lse[tokens, heads]; one block a head and QueryBlock.
template <class T, u32 WIDTH>
__device__ __forceinline__ void attention(const T* qkv, const QueryBlock* blocks, T* out, float* lse, float scale, u32 heads, u32 kv_heads,
                                          u32 d) {
  typedef AttentionBlock<T, WIDTH, ATTENTION_TILE, 8> Block;
  alignas(16) __shared__ float chunk[Block::CHUNK];
  alignas(16) __shared__ float weights[ATTENTION_TILE][ATTENTION_STRIDE];
  Block own(chunk, weights, d);
  QueryBlock block = blocks[blockIdx.x / heads];
  u32 head = blockIdx.x % heads, key_head = heads + head / (heads / kv_heads), all = heads + 2 * kv_heads;
  HeadRows<const T> queries = head_rows(qkv, all, head, d, block.first, block.count);
  HeadRows<const T> keys = seen_rows(qkv, all, key_head, d, block), values = seen_rows(qkv, all, key_head + kv_heads, d, block);
  u32 position = block.before + (block.first - block.own);
  float mixed[Block::EACH][4 * Block::PIECES] = {}, largest[Block::EACH], sums[Block::EACH] = {};
#pragma unroll
  for (u32 r = 0; r < Block::EACH; r++) largest[r] = NEG_INF;
  for (u32 from = 0; from < keys.count; from += ATTENTION_TILE) {
    float scores[Block::EACH][Block::ACROSS];
    own.dots(scores, queries, keys, from);
#pragma unroll
    for (u32 r = 0; r < Block::EACH; r++) {
      // Every row sees key 0, so that from the first tile on there is a largest score.
      float top = largest[r], added = 0.0f;
#pragma unroll
      for (u32 c = 0; c < Block::ACROSS; c++) {
        bool seen = from + own.column(c) <= position + own.row(r);
        scores[r][c] = seen ? scores[r][c] * (scale * LOG2_E) : NEG_INF;
        top = Largest()(top, scores[r][c]);
      }
      top = line_reduce<8>(top, Largest());
#pragma unroll
      for (u32 c = 0; c < Block::ACROSS; c++) {
        float weight = power_of_two(scores[r][c] - top);
        added += weight;
        own.weight(r, c) = weight;
      }
      float shrink = power_of_two(largest[r] - top);
      sums[r] = sums[r] * shrink + line_reduce<8>(added, Add());
      largest[r] = top;
#pragma unroll
      for (u32 i = 0; i < 4 * Block::PIECES; i++) mixed[r][i] *= shrink;
    }
    own.mix(mixed, values, from);
  }
#pragma unroll
  for (u32 r = 0; r < Block::EACH; r++) {
#pragma unroll
    for (u32 i = 0; i < 4 * Block::PIECES; i++) mixed[r][i] /= sums[r];
    if (own.lane == 0 && own.row(r) < block.count)
      lse[(u64)(block.first + own.row(r)) * heads + head] = (largest[r] + log2f(sums[r])) * LN_2;
  }
  own.store(mixed, head_rows(out, heads, head, d, block.first, block.count));
}

// The queries' part of d_qkv; one block a head and QueryBlock. Scores are computed anew, and with p_ij = e^(s_ij - lse_i):
// dq_i = sum_j scale p_ij (d_out_i . v_j - delta_i) k_j.
template <class T, u32 WIDTH>
__device__ __forceinline__ void attention_queries(const T* qkv, const T* d_out, const float* lse, const float* delta,
                                                  const QueryBlock* blocks, T* d_qkv, float scale, u32 heads, u32 kv_heads, u32 d) {
  typedef AttentionBlock<T, WIDTH, ATTENTION_TILE, 8> Block;
  alignas(16) __shared__ float chunk[Block::CHUNK];
  alignas(16) __shared__ float weights[ATTENTION_TILE][ATTENTION_STRIDE];
  __shared__ float lses[ATTENTION_TILE], deltas[ATTENTION_TILE];
  Block own(chunk, weights, d);
  QueryBlock block = blocks[blockIdx.x / heads];
  u32 head = blockIdx.x % heads, key_head = heads + head / (heads / kv_heads), all = heads + 2 * kv_heads;
  HeadRows<const T> queries = head_rows(qkv, all, head, d, block.first, block.count);
  HeadRows<const T> gradients = head_rows(d_out, heads, head, d, block.first, block.count);
  HeadRows<const T> keys = seen_rows(qkv, all, key_head, d, block), values = seen_rows(qkv, all, key_head + kv_heads, d, block);
  u32 position = block.before + (block.first - block.own);
  float mixed[Block::EACH][4 * Block::PIECES] = {};
  read_sums(lses, deltas, lse, delta, heads, head, block.first, block.count);
  for (u32 from = 0; from < keys.count; from += ATTENTION_TILE) {
    float scores[Block::EACH][Block::ACROSS];
    own.dots(scores, queries, keys, from);
#pragma unroll
    for (u32 r = 0; r < Block::EACH; r++)
#pragma unroll
      for (u32 c = 0; c < Block::ACROSS; c++) {
        bool seen = from + own.column(c) <= position + own.row(r);
        own.weight(r, c) = seen ? power_of_two(scores[r][c] * (scale * LOG2_E) - lses[own.row(r)]) : 0.0f;
      }
    own.dots(scores, gradients, values, from);
#pragma unroll
    for (u32 r = 0; r < Block::EACH; r++)
#pragma unroll
      for (u32 c = 0; c < Block::ACROSS; c++) own.weight(r, c) *= (scores[r][c] - deltas[own.row(r)]) * scale;
    own.mix(mixed, keys, from);
  }
  own.store(mixed, head_rows(d_qkv, all, head, d, block.first, block.count));
}

// The keys' and values' parts of d_qkv; one block a key head, KeyBlock and ROWS keys of it. As above, and dv_j = sum_i p_ij d_out_i,
// dk_j = sum_i scale p_ij (d_out_i . v_j - delta_i) q_i, over the heads that share the key head and all rows i that see j, in order.
template <class T, u32 WIDTH, u32 ROWS, u32 LANES>
__device__ __forceinline__ void attention_keys(const T* qkv, const T* d_out, const float* lse, const float* delta, const KeyBlock* blocks,
                                               const Run* runs, float* parts, T* d_qkv, float scale, u32 heads, u32 kv_heads, u32 d) {
  typedef AttentionBlock<T, WIDTH, ROWS, LANES> Block;
  alignas(16) __shared__ float chunk[Block::CHUNK];
  alignas(16) __shared__ float weights[ROWS][ATTENTION_STRIDE];
  __shared__ float lses[ATTENTION_TILE], deltas[ATTENTION_TILE];
  const u32 CUTS = ATTENTION_TILE / ROWS;
  Block own(chunk, weights, d);
  u32 kv_head = blockIdx.x % kv_heads, skipped = blockIdx.x / kv_heads % CUTS * ROWS, all = heads + 2 * kv_heads;
  KeyBlock block = blocks[blockIdx.x / kv_heads / CUTS];
  if (skipped >= block.count) return;
  u32 start = block.first + skipped, count = block.count - skipped < ROWS ? block.count - skipped : ROWS, group = heads / kv_heads;
  HeadRows<const T> keys = head_rows(qkv, all, heads + kv_head, d, start, count);
  HeadRows<const T> values = head_rows(qkv, all, heads + kv_heads + kv_head, d, start, count);
  float d_keys[Block::EACH][4 * Block::PIECES] = {}, d_values[Block::EACH][4 * Block::PIECES] = {};
  for (u32 head = kv_head * group; head < (kv_head + 1) * group; head++) {
    for (u32 run = block.begin; run < block.end; run++) {
      u32 end = runs[run].end;
      for (u32 from = runs[run].first; from < end; from += ATTENTION_TILE) {
        HeadRows<const T> queries = head_rows(qkv, all, head, d, from, end - from);
        HeadRows<const T> gradients = head_rows(d_out, heads, head, d, from, end - from);
        read_sums(lses, deltas, lse, delta, heads, head, from, end - from);
        float scores[Block::EACH][Block::ACROSS];
        own.dots(scores, keys, queries, 0);
#pragma unroll
        for (u32 r = 0; r < Block::EACH; r++)
#pragma unroll
          for (u32 c = 0; c < Block::ACROSS; c++) {
            bool seen = start + own.row(r) <= from + own.column(c);
            own.weight(r, c) = seen ? power_of_two(scores[r][c] * (scale * LOG2_E) - lses[own.column(c)]) : 0.0f;
          }
        own.mix(d_values, gradients, 0);
        own.dots(scores, values, gradients, 0);
#pragma unroll
        for (u32 r = 0; r < Block::EACH; r++)
#pragma unroll
          for (u32 c = 0; c < Block::ACROSS; c++)
            own.weight(r, c) *= (scores[r][c] - deltas[own.column(c)]) * scale;
        own.mix(d_keys, queries, 0);
      }
    }
  }
  if (block.part == NO_PART) {
    own.store(d_keys, head_rows(d_qkv, all, heads + kv_head, d, start, count));
    own.store(d_values, head_rows(d_qkv, all, heads + kv_heads + kv_head, d, start, count));
  } else {
    float* part = parts + ((u64)block.part * kv_heads + kv_head) * 2 * ATTENTION_TILE * d;
    own.store(d_keys, head_rows(part, 1, 0, d, skipped, count));
    own.store(d_values, head_rows(part, 1, 0, d, ATTENTION_TILE + skipped, count));
  }
}
