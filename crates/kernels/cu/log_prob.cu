// Selective log-softmax: one chosen token's log-probability and the entropy of each row of logits, in one pass over memory.
//
// With the largest logit m of what was read so far, d_j = (z_j - m) / T, s = sum e^d_j and w = sum e^d_j d_j, a larger m shifts both.
// log p_t = d_t - ln s, H = ln s - w / s. Largest and ln s are kept apart: near 1e4 their sum is rounded to 1e-3 nats.

// Below it a probability is 0 for every purpose, but a finite 0: 0 ln 0 must come out as 0 for an impossible token.
#define LEAST_LOG_PROB -100.0f

struct Softmax {
  float largest, sum, moment;
};

// A row of which only impossible tokens were seen has no mass to shift; its sums are 0, or NaN and stay so.
__device__ __forceinline__ Softmax shifted(Softmax a, float largest, float scale) {
  if (a.largest == largest) return a;
  float d = a.largest == NEG_INF ? 0.0f : (a.largest - largest) * scale;
  float factor = a.largest == NEG_INF ? 0.0f : expf(d);
  return Softmax{largest, factor * a.sum, factor * (a.moment + a.sum * d)};
}

struct Merge {
  float scale;
  __device__ __forceinline__ Softmax operator()(Softmax a, Softmax b) const {
    float largest = fmaxf(a.largest, b.largest);
    a = shifted(a, largest, scale);
    b = shifted(b, largest, scale);
    return Softmax{largest, a.sum + b.sum, a.moment + b.moment};
  }
};

template <class T>
__device__ __forceinline__ Softmax row_softmax(const Row<T>& row, float scale) {
  Softmax own = {NEG_INF, 0.0f, 0.0f};
  u32 slots = row.slots();
#pragma unroll 2
  for (u32 slot = threadIdx.x; slot < slots; slot += blockDim.x) {
    float z[Row<T>::WIDTH];
    row.load(slot, z, NEG_INF);
    float largest = own.largest;
#pragma unroll
    for (u32 i = 0; i < Row<T>::WIDTH; i++) largest = fmaxf(largest, z[i]);
    own = shifted(own, largest, scale);
    float base = largest == NEG_INF ? 0.0f : largest;
#pragma unroll
    for (u32 i = 0; i < Row<T>::WIDTH; i++) {
      float d = (z[i] - base) * scale, e = expf(d);
      own.sum += e;
      own.moment += e * fmaxf(d, LEAST_LOG_PROB);
    }
  }
  // Shuffles carry one number each.
  Merge merge = {scale};
  for (u32 step = 16; step > 0; step >>= 1) {
    Softmax other;
    other.largest = __shfl_xor_sync(FULL_WARP, own.largest, step);
    other.sum = __shfl_xor_sync(FULL_WARP, own.sum, step);
    other.moment = __shfl_xor_sync(FULL_WARP, own.moment, step);
    own = merge(own, other);
  }
  __shared__ float parts[3][32];
  u32 warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  if ((threadIdx.x & 31u) == 0) {
    parts[0][warp] = own.largest;
    parts[1][warp] = own.sum;
    parts[2][warp] = own.moment;
  }
  __syncthreads();
  own = Softmax{parts[0][0], parts[1][0], parts[2][0]};
  for (u32 i = 1; i < warps; i++) own = merge(own, Softmax{parts[0][i], parts[1][i], parts[2][i]});
  return own;
}

// One block a row. A target outside the vocabulary gives NaN.
template <class T>
__device__ __forceinline__ void log_prob_row(const T* logits, const u32* targets, float* log_prob, float* entropy, float* largest,
                                             float* log_sum, float scale, u32 vocab) {
  const T* row = logits + (u64)blockIdx.x * vocab;
  Softmax all = row_softmax(Row<T>(row, vocab), scale);
  if (threadIdx.x != 0) return;
  u32 target = targets[blockIdx.x];
  float ln = logf(all.sum);
  log_prob[blockIdx.x] = target < vocab ? (widen(row[target]) - all.largest) * scale - ln : NOT_A_NUMBER;
  entropy[blockIdx.x] = ln - all.moment / all.sum;
  largest[blockIdx.x] = all.largest;
  log_sum[blockIdx.x] = ln;
}

// dz_j = (g ([j = t] - p_j) - h p_j (log p_j + H)) / T. Each thread writes only what it has read, so `d_logits` may be `logits`.
template <class T>
__device__ __forceinline__ void log_prob_backward_row(const T* logits, const u32* targets, const float* entropy, const float* largest,
                                                      const float* log_sum, const float* d_log_prob, const float* d_entropy,
                                                      T* d_logits, float scale, u32 vocab) {
  u32 row = blockIdx.x, target = targets[row];
  float g = d_log_prob[row] * scale, h = d_entropy[row] * scale, m = largest[row], ln = log_sum[row], spread = entropy[row];
  Row<T> from(logits + (u64)row * vocab, vocab);
  Row<T> to(d_logits + (u64)row * vocab, vocab);
  u32 slots = from.slots();
#pragma unroll 2
  for (u32 slot = threadIdx.x; slot < slots; slot += blockDim.x) {
    float z[Row<T>::WIDTH];
    from.load(slot, z, NEG_INF);
#pragma unroll
    for (u32 i = 0; i < Row<T>::WIDTH; i++) {
      float log_p = fmaxf((z[i] - m) * scale - ln, LEAST_LOG_PROB);
      z[i] = -expf(log_p) * (g + h * (log_p + spread));
      if (from.first(slot) + i == target) z[i] += g;
    }
    to.store(slot, z);
  }
}

extern "C" __global__ void __launch_bounds__(1024) log_prob_f32(const float* logits, const u32* targets, float* log_prob,
    float* entropy, float* largest, float* log_sum, float scale, u32 vocab) {
  log_prob_row(logits, targets, log_prob, entropy, largest, log_sum, scale, vocab);
}

extern "C" __global__ void __launch_bounds__(1024) log_prob_bf16(const bf16* logits, const u32* targets, float* log_prob,
    float* entropy, float* largest, float* log_sum, float scale, u32 vocab) {
  log_prob_row(logits, targets, log_prob, entropy, largest, log_sum, scale, vocab);
}

extern "C" __global__ void __launch_bounds__(1024) log_prob_backward_f32(const float* logits, const u32* targets,
    const float* entropy, const float* largest, const float* log_sum, const float* d_log_prob, const float* d_entropy,
    float* d_logits, float scale, u32 vocab) {
  log_prob_backward_row(logits, targets, entropy, largest, log_sum, d_log_prob, d_entropy, d_logits, scale, vocab);
}

extern "C" __global__ void __launch_bounds__(1024) log_prob_backward_bf16(const bf16* logits, const u32* targets,
    const float* entropy, const float* largest, const float* log_sum, const float* d_log_prob, const float* d_entropy,
    bf16* d_logits, float scale, u32 vocab) {
  log_prob_backward_row(logits, targets, entropy, largest, log_sum, d_log_prob, d_entropy, d_logits, scale, vocab);
}
