// Attention of heads of up to 64; behind attention.cu. Three blocks share a multiprocessor, which leaves 168 registers to a thread.

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 3) attention_f32_64(const float* qkv, const QueryBlock* blocks,
    float* out, float* lse, float scale, u32 heads, u32 kv_heads, u32 d) {
  attention<float, 64>(qkv, blocks, out, lse, scale, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 3) attention_bf16_64(const bf16* qkv, const QueryBlock* blocks,
    bf16* out, float* lse, float scale, u32 heads, u32 kv_heads, u32 d) {
  attention<bf16, 64>(qkv, blocks, out, lse, scale, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 3) attention_queries_f32_64(const float* qkv, const float* d_out,
    const float* lse, const float* delta, const QueryBlock* blocks, float* d_qkv, float scale, u32 heads, u32 kv_heads, u32 d) {
  attention_queries<float, 64>(qkv, d_out, lse, delta, blocks, d_qkv, scale, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 3) attention_queries_bf16_64(const bf16* qkv, const bf16* d_out,
    const float* lse, const float* delta, const QueryBlock* blocks, bf16* d_qkv, float scale, u32 heads, u32 kv_heads, u32 d) {
  attention_queries<bf16, 64>(qkv, d_out, lse, delta, blocks, d_qkv, scale, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 3) attention_keys_f32_64(const float* qkv, const float* d_out,
    const float* lse, const float* delta, const KeyBlock* blocks, const Run* runs, float* parts, float* d_qkv, float scale, u32 heads,
    u32 kv_heads, u32 d) {
  attention_keys<float, 64, 64, 8>(qkv, d_out, lse, delta, blocks, runs, parts, d_qkv, scale, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 3) attention_keys_bf16_64(const bf16* qkv, const bf16* d_out,
    const float* lse, const float* delta, const KeyBlock* blocks, const Run* runs, float* parts, bf16* d_qkv, float scale, u32 heads,
    u32 kv_heads, u32 d) {
  attention_keys<bf16, 64, 64, 8>(qkv, d_out, lse, delta, blocks, runs, parts, d_qkv, scale, heads, kv_heads, d);
}
