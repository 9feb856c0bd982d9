// Selective log-softmax: one chosen token's log-probability and the entropy of each row of logits, in one pass over memory.
//
// With the largest logit m of what was read so far, d_j = (z_j - m) / T, s = sum e^d_j and w = sum e^d_j d_j, a larger m shifts both.
// log p_t = d_t - ln s, H = ln s - w / s. Largest and ln s are kept apart: near 1e4 their sum is rounded to 1e-3 nats.

// Stands for an impossible token's distance from the largest logit: its probability is 0, and 0 times it is 0.
#define FAR -3.0e38f
// Below it a probability is 0 for every purpose, but a finite 0: 0 ln 0 must come out as 0 for an impossible token.
#define LEAST_LOG_PROB -100.0f
// Pieces of 16 bytes that a thread has under way at once: what keeps memory busy.
#define AHEAD 4

// The sums of some logits, distances not divided by the temperature.
struct Softmax {
  float largest, sum, moment;
};

// A row of which only impossible tokens were seen has no mass to shift; its sums are 0, or NaN and stay so.
__device__ __forceinline__ Softmax shifted(Softmax a, float largest, float scale) {
  if (a.largest == largest) return a;
  float d = a.largest == NEG_INF ? 0.0f : a.largest - largest;
  float factor = a.largest == NEG_INF ? 0.0f : power_of_two(d * scale);
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

template <u32 N>
__device__ __forceinline__ Softmax seen(Softmax own, const float (&z)[N], float scale) {
  float largest = own.largest;
#pragma unroll
  for (u32 i = 0; i < N; i++) largest = fmaxf(largest, z[i]);
  own = shifted(own, largest, scale);
  float base = largest == NEG_INF ? 0.0f : largest;
#pragma unroll
  for (u32 i = 0; i < N; i++) {
    float d = z[i] - base, e = power_of_two(d * scale);
    own.sum += e;
    own.moment += e * fmaxf(d, FAR);
  }
  return own;
}

template <class T>
__device__ __forceinline__ Softmax row_softmax(const Row<T>& row, float scale) {
  const u32 WIDTH = Row<T>::WIDTH;
  Softmax own = {NEG_INF, 0.0f, 0.0f};
  u32 slot = row.inner() + threadIdx.x, outer = row.outer(), step = blockDim.x;
  for (; slot + (AHEAD - 1) * step < outer; slot += AHEAD * step) {
    Piece<T> pieces[AHEAD];
#pragma unroll
    for (u32 k = 0; k < AHEAD; k++) pieces[k].all = *(const uint4*)(row.at + row.first(slot + k * step));
#pragma unroll
    for (u32 k = 0; k < AHEAD; k++) {
      float z[WIDTH];
      pieces[k].widened(z);
      own = seen(own, z, scale);
    }
  }
  for (; slot < outer; slot += step) {
    float z[WIDTH];
    Piece<T>::load(row.at + row.first(slot), z);
    own = seen(own, z, scale);
  }
  // What is cut at the row's two ends.
  for (u32 end = threadIdx.x; end < 2; end += step) {
    u32 cut = end == 0 ? 0 : outer;
    if (row.whole(cut) || cut >= row.slots() || (end == 1 && outer == 0)) continue;
    float z[WIDTH];
    row.load(cut, z, NEG_INF);
    own = seen(own, z, scale);
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
  Softmax all = row_softmax(Row<T>(row, vocab), scale * LOG2_E);
  if (threadIdx.x != 0) return;
  u32 target = targets[blockIdx.x];
  float ln = logf(all.sum);
  log_prob[blockIdx.x] = target < vocab ? (widen(row[target]) - all.largest) * scale - ln : NOT_A_NUMBER;
  entropy[blockIdx.x] = ln - scale * (all.moment / all.sum);
  largest[blockIdx.x] = all.largest;
  log_sum[blockIdx.x] = ln;
}

// dz_j = (g ([j = t] - p_j) - h p_j (log p_j + H)) / T, for one slot.
template <class T>
struct Slope {
  float g, h, scale, largest, log_sum, spread;
  u32 target;

  __device__ __forceinline__ void operator()(const Row<T>& row, u32 slot, float* z) const {
#pragma unroll
    for (u32 i = 0; i < Row<T>::WIDTH; i++) {
      float log_p = fmaxf((z[i] - largest) * scale - log_sum, LEAST_LOG_PROB);
      z[i] = -power_of_two(log_p * LOG2_E) * (g + h * (log_p + spread));
    }
    long long at = (long long)target - row.first(slot);
    if (at < 0 || at >= Row<T>::WIDTH) return;
#pragma unroll
    for (u32 i = 0; i < Row<T>::WIDTH; i++) z[i] += i == at ? g : 0.0f;
  }
};

// Each thread writes only what it has read, so `d_logits` may be `logits`.
template <class T>
__device__ __forceinline__ void log_prob_backward_row(const T* logits, const u32* targets, const float* entropy, const float* largest,
                                                      const float* log_sum, const float* d_log_prob, const float* d_entropy,
                                                      T* d_logits, float scale, u32 vocab) {
  u32 row = blockIdx.x;
  Slope<T> slope = {d_log_prob[row] * scale, d_entropy[row] * scale, scale, largest[row], log_sum[row], entropy[row], targets[row]};
  Row<T> from(logits + (u64)row * vocab, vocab);
  Row<T> to(d_logits + (u64)row * vocab, vocab);
  u32 slot = threadIdx.x, slots = from.slots(), step = blockDim.x;
  for (; slot + (AHEAD - 1) * step < slots; slot += AHEAD * step) {
    float z[AHEAD][Row<T>::WIDTH];
#pragma unroll
    for (u32 k = 0; k < AHEAD; k++) from.load(slot + k * step, z[k], NEG_INF);
#pragma unroll
    for (u32 k = 0; k < AHEAD; k++) {
      slope(from, slot + k * step, z[k]);
      to.store(slot + k * step, z[k]);
    }
  }
  for (; slot < slots; slot += step) {
    float z[Row<T>::WIDTH];
    from.load(slot, z, NEG_INF);
    slope(from, slot, z);
    to.store(slot, z);
  }
}

extern "C" __global__ void __launch_bounds__(256) log_prob_f32(const float* logits, const u32* targets, float* log_prob,
    float* entropy, float* largest, float* log_sum, float scale, u32 vocab) {
  log_prob_row(logits, targets, log_prob, entropy, largest, log_sum, scale, vocab);
}

extern "C" __global__ void __launch_bounds__(256) log_prob_bf16(const bf16* logits, const u32* targets, float* log_prob,
    float* entropy, float* largest, float* log_sum, float scale, u32 vocab) {
  log_prob_row(logits, targets, log_prob, entropy, largest, log_sum, scale, vocab);
}

extern "C" __global__ void __launch_bounds__(512) log_prob_backward_f32(const float* logits, const u32* targets,
    const float* entropy, const float* largest, const float* log_sum, const float* d_log_prob, const float* d_entropy,
    float* d_logits, float scale, u32 vocab) {
  log_prob_backward_row(logits, targets, entropy, largest, log_sum, d_log_prob, d_entropy, d_logits, scale, vocab);
}

extern "C" __global__ void __launch_bounds__(512) log_prob_backward_bf16(const bf16* logits, const u32* targets,
    const float* entropy, const float* largest, const float* log_sum, const float* d_log_prob, const float* d_entropy,
    bf16* d_logits, float scale, u32 vocab) {
  log_prob_backward_row(logits, targets, entropy, largest, log_sum, d_log_prob, d_entropy, d_logits, scale, vocab);
}
