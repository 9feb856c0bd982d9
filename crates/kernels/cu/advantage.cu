// Credit: an answer's reward against its group's, and a token's return against what a critic had expected.

#define GROUP_THREADS 128
#define GAE_THREADS 256

// What an advantage is measured in; the host's enum has the same order.
#define CENTRED 0
#define GROUP_STD 1
#define GROUP_POPULATION_STD 2
#define LEAVE_ONE_OUT 3

// Group g is rewards[offsets[g]..offsets[g + 1]], as far as there are any; one warp a group. Rewards that are all equal have nothing to compare, and a
// difference of 0 decides that, not a standard deviation: the mean of equal numbers may be off by one rounding.
extern "C" __global__ void __launch_bounds__(GROUP_THREADS) group_advantages(const float* rewards, const u32* offsets, float* advantages,
    u32 groups, u32 kind, u32 answers) {
  u32 group = (blockIdx.x * blockDim.x + threadIdx.x) >> 5, lane = threadIdx.x & 31u;
  if (group >= groups) return;
  u32 first = offsets[group], last = min(offsets[group + 1], answers);
  if (first >= last) return;
  double n = last - first, sum = 0.0, squares = 0.0;
  bool alike = true;
  for (u32 i = first + lane; i < last; i += 32) {
    sum += rewards[i];
    alike = alike && rewards[i] == rewards[first];
  }
  double mean = warp_reduce(sum, Add()) / n;
  for (u32 i = first + lane; i < last; i += 32) squares += (rewards[i] - mean) * (rewards[i] - mean);
  squares = warp_reduce(squares, Add());
  bool flat = __all_sync(FULL_WARP, alike);
  double divisor = kind == GROUP_STD              ? sqrt(squares / (n - 1.0)) + 1e-4
                   : kind == GROUP_POPULATION_STD ? sqrt(squares / n) + 1e-6
                   : kind == LEAVE_ONE_OUT        ? 1.0 - 1.0 / n
                                                  : 1.0;
  for (u32 i = first + lane; i < last; i += 32) advantages[i] = flat ? 0.0f : (float)((rewards[i] - mean) / divisor);
}

// The value of the nearest sampled token behind, if there is one.
struct Next {
  float value;
  u32 some;
};

// A step a -> add + times a of the recurrence, or several of them one after the other.
struct Step {
  float times, add;
};

__device__ __forceinline__ Next after(Next earlier, Next later) { return later.some ? later : earlier; }
__device__ __forceinline__ Step after(Step earlier, Step later) { return Step{later.times * earlier.times, later.add + later.times * earlier.add}; }

__device__ __forceinline__ Next from_lane(Next x, u32 by) { return Next{__shfl_up_sync(FULL_WARP, x.value, by), __shfl_up_sync(FULL_WARP, x.some, by)}; }
__device__ __forceinline__ Step from_lane(Step x, u32 by) { return Step{__shfl_up_sync(FULL_WARP, x.times, by), __shfl_up_sync(FULL_WARP, x.add, by)}; }

// All steps of threads up to and including this one, in order.
template <class T>
__device__ __forceinline__ T block_scan(T x, T* warps) {
  u32 lane = threadIdx.x & 31u, warp = threadIdx.x >> 5;
  for (u32 by = 1; by < 32; by <<= 1) {
    T earlier = from_lane(x, by);
    if (lane >= by) x = after(earlier, x);
  }
  if (lane == 31) warps[warp] = x;
  __syncthreads();
  for (u32 i = warp; i > 0; i--) x = after(warps[i - 1], x);
  __syncthreads();
  return x;
}

// Generalised advantage estimation over packed sequences, sequence s being tokens offsets[s]..offsets[s + 1], as far as there are any; one block a sequence.
//
//   delta_t = reward_t + gamma V_next - V_t        A_t = delta_t + gamma lambda A_next
//
// Next is the next sampled token; at others the advantage is 0 and nothing is read. The recurrence is a scan of its steps from the
// last token to the first: thread i of a block has the i-th token from the end of what is left.
extern "C" __global__ void __launch_bounds__(GAE_THREADS) gae(const float* rewards, const float* values, const u8* mask, const u32* offsets,
    float* advantages, float gamma, float lambda, u32 tokens) {
  __shared__ Next nexts[32];
  __shared__ Step steps[32];
  __shared__ float carried[GAE_THREADS];
  __shared__ Next seen[GAE_THREADS];
  u32 last = min(offsets[blockIdx.x + 1], tokens), first = min(offsets[blockIdx.x], last);
  Next next = {0.0f, 0};
  float advantage = 0.0f;
  for (u32 done = 0; done < last - first; done += blockDim.x) {
    bool here = done + threadIdx.x < last - first;
    u32 t = here ? last - 1 - done - threadIdx.x : first;
    bool own = here && mask[t];
    Next upto = block_scan(own ? Next{values[t], 1} : Next{0.0f, 0}, nexts);
    seen[threadIdx.x] = upto;
    __syncthreads();
    Next behind = threadIdx.x > 0 ? after(next, seen[threadIdx.x - 1]) : next;
    float delta = own ? rewards[t] + gamma * behind.value - values[t] : 0.0f;
    Step step = block_scan(own ? Step{gamma * lambda, delta} : Step{1.0f, 0.0f}, steps);
    float reached = step.add + step.times * advantage;
    if (here) advantages[t] = own ? reached : 0.0f;
    carried[threadIdx.x] = reached;
    __syncthreads();
    next = after(next, seen[blockDim.x - 1]);
    advantage = carried[blockDim.x - 1];
    __syncthreads();
  }
}
