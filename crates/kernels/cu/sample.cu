// Choosing a token for each row of logits: temperature, then top-k, top-p and min-p, then an inverse transform by a uniform number that
// host and device agree on; and the log-probability of what was chosen, under the distribution it was drawn from.
//
// All masses are integers, weights e^d in units of 2^-40. Integers add up to the same sum in any order, so that results depend neither
// on the schedule nor on the number of threads, and a cumulative sum is compared with `u` times a total exactly. A token lighter than a
// unit (28 nats below the largest) is never drawn.
//
// Filters never need a sorted row. Ordered by falling weight, ties by rising id, survivors are a prefix; its end, and the token that is
// drawn, are found by their rank in mass or in number: a histogram of the upper bits tells in which bin that rank lies, a histogram
// of the next bits within that bin, and so on until the bin holds one token.

#define SAMPLE_THREADS 1024
#define BIN_BITS 11
#define BINS (1 << BIN_BITS)
#define UNIT 1099511627776.0f /* 2^40 */

// How one row is sampled; laid out as the host's struct.
struct Choice {
  u64 key, position;  // the random stream, and where in it
  float temperature, top_p, min_p;
  u32 top_k;
};

// The value at a position of a stream: SplitMix64 over a counter.
__device__ __forceinline__ u64 random_bits(u64 key, u64 position) {
  u64 z = key + (position + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

struct Weights {
  const float* logits;
  float largest, scale;
  u32 vocab;

  __device__ __forceinline__ float operator()(u32 id) const { return expf((logits[id] - largest) * scale); }
};

__device__ __forceinline__ u64 mass(float weight) { return (u64)(weight * UNIT); }

// Falling weights, then rising ids, are falling keys: weights are not negative, so their bits are ordered as they are.
__device__ __forceinline__ u64 key_of(float weight, u32 id) { return (u64)__float_as_uint(weight) << 32 | (u32)~id; }

// Sums of all threads before this one and, in `total`, of all threads.
__device__ u64 block_before(u64 x, u64& total) {
  __shared__ u64 warps[32];
  u32 lane = threadIdx.x & 31u, warp = threadIdx.x >> 5;
  u64 upto = x;
#pragma unroll
  for (u32 by = 1; by < 32; by <<= 1) {
    u64 earlier = __shfl_up_sync(FULL_WARP, upto, by);
    if (lane >= by) upto += earlier;
  }
  if (lane == 31) warps[warp] = upto;
  __syncthreads();
  u64 before = upto - x;
  total = 0;
  for (u32 i = 0; i < blockDim.x >> 5; i++) {
    if (i < warp) before += warps[i];
    total += warps[i];
  }
  __syncthreads();
  return before;
}

// The key that begins with the bits of `known`; there is one.
__device__ u64 only_key(const Weights& weights, u64 known, u64 above) {
  u64 key = 0;
  for (u32 id = threadIdx.x; id < weights.vocab; id += blockDim.x) {
    u64 own = key_of(weights(id), id);
    if ((own & above) == known) key = own;
  }
  return block_reduce(key, Largest());
}

// The key at which the mass (or, for `counting`, the number) of all keys not below it first exceeds `rank`. Keys that are there must
// reach so far.
__device__ u64 key_at_rank(const Weights& weights, u64 rank, bool counting) {
  __shared__ u64 sums[BINS];
  __shared__ u32 counts[BINS];
  __shared__ u64 found, left;
  __shared__ u32 alone;
  u64 known = 0, above = 0;
  for (int shift = 64 - BIN_BITS;; shift = shift > BIN_BITS ? shift - BIN_BITS : 0) {
    for (u32 bin = threadIdx.x; bin < BINS; bin += blockDim.x) sums[bin] = counts[bin] = 0;
    __syncthreads();
    for (u32 id = threadIdx.x; id < weights.vocab; id += blockDim.x) {
      float weight = weights(id);
      u64 key = key_of(weight, id);
      if ((key & above) != known) continue;
      u32 bin = (u32)(key >> shift) & (BINS - 1);
      atomicAdd(&sums[bin], counting ? 1ull : mass(weight));
      atomicAdd(&counts[bin], 1u);
    }
    __syncthreads();
    // Each thread has neighbouring bins, the first thread the highest.
    u32 each = (BINS + blockDim.x - 1) / blockDim.x, start = threadIdx.x * each;
    u64 own = 0, total;
    for (u32 i = start; i < start + each && i < BINS; i++) own += sums[BINS - 1 - i];
    u64 before = block_before(own, total);
    if (before <= rank && rank < before + own) {
      for (u32 i = start; i < start + each && i < BINS; i++) {
        u32 bin = BINS - 1 - i;
        if (rank < before + sums[bin]) {
          found = known | (u64)bin << shift;
          left = rank - before;
          alone = counts[bin] == 1;
          break;
        }
        before += sums[bin];
      }
    }
    __syncthreads();
    known = found;
    rank = left;
    above = ~0ull << shift;
    if (shift == 0) return known;
    if (alone) return only_key(weights, known, above);
  }
}

// The mass of all keys not below `cut`.
__device__ u64 mass_above(const Weights& weights, u64 cut) {
  u64 sum = 0;
  for (u32 id = threadIdx.x; id < weights.vocab; id += blockDim.x) {
    float weight = weights(id);
    if (key_of(weight, id) >= cut) sum += mass(weight);
  }
  return block_reduce(sum, Add());
}

// The first id at which the mass of all ids up to it exceeds `rank`: warps sum stretches of ids, then one stretch is walked.
__device__ u32 id_at_rank(const Weights& weights, u64 rank) {
  __shared__ u64 stretches[SAMPLE_THREADS];
  __shared__ u64 left;
  __shared__ u32 stretch, found;
  u32 lane = threadIdx.x & 31u, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  u32 length = ((weights.vocab + blockDim.x - 1) / blockDim.x + 31) & ~31u;
  for (u32 i = warp; i < blockDim.x; i += warps) {
    u64 sum = 0;
    for (u32 id = i * length + lane; id < (i + 1) * length; id += 32)
      if (id < weights.vocab) sum += mass(weights(id));
    sum = warp_reduce(sum, Add());
    if (lane == 0) stretches[i] = sum;
  }
  __syncthreads();
  u64 total, before = block_before(stretches[threadIdx.x], total);
  if (before <= rank && rank < before + stretches[threadIdx.x]) {
    stretch = threadIdx.x;
    left = rank - before;
  }
  __syncthreads();
  u32 first = stretch * length;
  rank = left;
  for (u32 start = first; start < first + length; start += blockDim.x) {
    u32 id = start + threadIdx.x;
    u64 own = id < first + length && id < weights.vocab ? mass(weights(id)) : 0;
    before = block_before(own, total);
    if (before <= rank && rank < before + own) found = id;
    if (rank < total) break;
    rank -= total;
  }
  __syncthreads();
  return found;
}

// The first id with the largest logit. Compared before the exponential, which rounds nearby logits to the same weight.
__device__ u32 first_largest(const float* row, float largest, u32 vocab) {
  u64 best = 0;
  for (u32 id = threadIdx.x; id < vocab; id += blockDim.x)
    if (row[id] == largest) best = Largest()(best, (u64)(u32)~id);
  return ~(u32)block_reduce(best, Largest());
}

// The lowest key that all filters leave. Everything is left by `top_k` = 0, `top_p` = 1 and `min_p` = 0.
__device__ __forceinline__ u64 lowest_kept(const Weights& weights, const Choice& choice) {
  u64 cut = choice.top_k > 0 && choice.top_k < weights.vocab ? key_at_rank(weights, choice.top_k - 1, true) : 0;
  if (choice.top_p < 1.0f) {
    u64 enough = (u64)ceil((double)choice.top_p * (double)mass_above(weights, cut));
    u64 nucleus = key_at_rank(weights, enough > 0 ? enough - 1 : 0, false);
    cut = nucleus > cut ? nucleus : cut;
  }
  u64 least = (u64)__float_as_uint(choice.min_p) << 32;
  return choice.min_p > 0.0f && least > cut ? least : cut;
}

// One block a row. Logits that are no distribution give token 0 and NaN.
extern "C" __global__ void __launch_bounds__(SAMPLE_THREADS) sample_f32(const float* logits, const Choice* choices, u32* tokens,
    float* log_probs, u32 vocab) {
  const float* row = logits + (u64)blockIdx.x * vocab;
  Choice choice = choices[blockIdx.x];
  bool greedy = choice.temperature == 0.0f;
  float largest = NEG_INF;
  for (u32 id = threadIdx.x; id < vocab; id += blockDim.x) largest = Largest()(largest, row[id]);
  largest = block_reduce(largest, Largest());
  if (!(largest > NEG_INF && largest < POS_INF)) {
    if (threadIdx.x == 0) {
      tokens[blockIdx.x] = 0;
      log_probs[blockIdx.x] = NOT_A_NUMBER;
    }
    return;
  }
  Weights weights = {row, largest, greedy ? 1.0f : 1.0f / choice.temperature, vocab};
  bool filtered = !greedy && (choice.top_k > 0 || choice.top_p < 1.0f || choice.min_p > 0.0f);
  u64 cut = filtered ? lowest_kept(weights, choice) : 0;
  u64 total = mass_above(weights, cut);
  // floor(u total), with u the upper 53 bits over 2^53.
  u64 rank = __umul64hi(random_bits(choice.key, choice.position) & ~2047ull, total);
  u32 token = greedy     ? first_largest(row, largest, vocab)
              : filtered ? ~(u32)key_at_rank(weights, rank, false)
                         : id_at_rank(weights, rank);
  if (threadIdx.x == 0) {
    tokens[blockIdx.x] = token;
    log_probs[blockIdx.x] = (row[token] - largest) * weights.scale - logf((float)total / UNIT);
  }
}
