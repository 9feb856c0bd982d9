// The slopes of a clipped objective with a KL term, for every token, and what is reported about them.
//
//   loss_t = push_t (-min(min(r, dual_clip) A, clip(r, low, high) A)) + weight_t kl_coef kl(new, reference)      r = exp(new - old)
//
// Log-ratios are clamped to +-20 nats, and flat beyond: what is differentiated is what is minimised.

#define OBJECTIVE_THREADS 256
#define LOG_RATIO_LIMIT 20.0f

// How KL(new, reference) is estimated; the host's enum has the same order.
#define K1 0
#define K2 1

// loss, clipped low, clipped high, ratios, KL to the reference and from the old policy (both k3), tokens
#define SUMS 7

struct Sloped {
  float value, slope;
};

__device__ __forceinline__ float clamped(float x) {
  return x > LOG_RATIO_LIMIT ? LOG_RATIO_LIMIT : x < -LOG_RATIO_LIMIT ? -LOG_RATIO_LIMIT : x;
}

__device__ __forceinline__ bool is_flat(float x) { return fabsf(x) > LOG_RATIO_LIMIT; }

__device__ __forceinline__ Sloped importance(float now, float old) {
  float ratio = expf(clamped(now - old));
  return Sloped{ratio, is_flat(now - old) ? 0.0f : ratio};
}

// exp(x) - x - 1 with x = reference - new. expm1: for nearby policies all digits are in the difference of exp(x) and 1.
__device__ __forceinline__ Sloped k3(float now, float reference) {
  float x = clamped(reference - now), excess = expm1f(x);
  return Sloped{excess - x, is_flat(reference - now) ? 0.0f : -excess};
}

__device__ __forceinline__ Sloped kl(u32 kind, float now, float reference) {
  if (kind > K2) return k3(now, reference);
  float d = clamped(now - reference);
  bool flat = is_flat(now - reference);
  if (kind == K1) return Sloped{d, flat ? 0.0f : 1.0f};
  return Sloped{0.5f * d * d, flat ? 0.0f : d};
}

__device__ __forceinline__ Sloped bounded(Sloped ratio, float low, float high) {
  if (ratio.value < low) return Sloped{low, 0.0f};
  if (ratio.value > high) return Sloped{high, 0.0f};
  return ratio;
}

// parts[blocks, SUMS]; `reference` may be null, then there is no KL to it.
extern "C" __global__ void __launch_bounds__(OBJECTIVE_THREADS) clipped_objective(const float* now, const float* old,
    const float* reference, const float* advantages, const float* pushes, const float* weights, const u8* mask, float* slopes,
    double* parts, float low, float high, float dual_clip, u32 kl_kind, float kl_coef, u64 tokens) {
  u64 t = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  double sums[SUMS] = {};
  if (t < tokens && mask[t]) {
    Sloped ratio = importance(now[t], old[t]);
    float advantage = advantages[t], push = pushes[t];
    Sloped capped = bounded(ratio, NEG_INF, dual_clip), clipped = bounded(ratio, low, high);
    Sloped taken = capped.value * advantage <= clipped.value * advantage ? capped : clipped;
    float slope = -push * advantage * taken.slope;
    sums[0] = -(double)push * advantage * taken.value;
    sums[1] = advantage < 0.0f && ratio.value < low;
    sums[2] = advantage > 0.0f && ratio.value > high;
    sums[3] = ratio.value;
    if (reference) {
      Sloped pull = kl(kl_kind, now[t], reference[t]);
      float weight = weights[t] * kl_coef;
      sums[0] += (double)weight * pull.value;
      slope += weight * pull.slope;
      sums[4] = k3(now[t], reference[t]).value;
    }
    sums[5] = k3(old[t], now[t]).value;
    sums[6] = 1.0;
    slopes[t] = slope;
  } else if (t < tokens) {
    slopes[t] = 0.0f;
  }
  for (u32 i = 0; i < SUMS; i++) {
    double sum = block_reduce(sums[i], Add());
    if (threadIdx.x == 0) parts[(u64)blockIdx.x * SUMS + i] = sum;
  }
}
