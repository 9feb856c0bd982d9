// AdamW in one pass. The gradient is scaled so that the norm of all gradients together is at most `max_norm`; their sum of squares is
// read where the reduction has left it, so that the host need not wait for it.

#define ADAMW_THREADS 256

extern "C" __global__ void __launch_bounds__(ADAMW_THREADS) adamw_f32(float* parameter, const float* gradient, float* mean,
    float* square, const double* sum_of_squares, float max_norm, float lr, float beta1, float beta2, float epsilon,
    float weight_decay, float correction1, float correction2, u64 n) {
  float scale = 1.0f;
  if (sum_of_squares) {
    double norm = sqrt(*sum_of_squares);
    if (norm > max_norm) scale = (float)(max_norm / norm);
  }
  u64 start = ((u64)blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (start >= n) return;
  u32 left = n - start < 4 ? (u32)(n - start) : 4;
  Row<float> ps(parameter + start, left), gs(gradient + start, left), ms(mean + start, left), vs(square + start, left);
  float p[4], g[4], m[4], v[4];
  ps.load(0, p, 0.0f);
  gs.load(0, g, 0.0f);
  ms.load(0, m, 0.0f);
  vs.load(0, v, 0.0f);
#pragma unroll
  for (u32 i = 0; i < 4; i++) {
    float scaled = g[i] * scale;
    m[i] = beta1 * m[i] + (1.0f - beta1) * scaled;
    v[i] = beta2 * v[i] + (1.0f - beta2) * scaled * scaled;
    float step = m[i] * correction1 / (sqrtf(v[i] * correction2) + epsilon);
    p[i] = p[i] * (1.0f - lr * weight_decay) - lr * step;
  }
  ps.store(0, p);
  ms.store(0, m);
  vs.store(0, v);
}
