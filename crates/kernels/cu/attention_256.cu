// Attention of heads of up to 256; behind attention.cu. Sums of a block take half of the registers that a thread may have; keys have two
// such sums, and so a block half as many keys.

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2) attention_f32_256(const float* qkv, const QueryBlock* blocks,
    float* out, float* lse, float scale, u32 heads, u32 kv_heads, u32 d) {
  attention<float, 256>(qkv, blocks, out, lse, scale, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2) attention_bf16_256(const bf16* qkv, const QueryBlock* blocks,
    bf16* out, float* lse, float scale, u32 heads, u32 kv_heads, u32 d) {
  attention<bf16, 256>(qkv, blocks, out, lse, scale, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2) attention_queries_f32_256(const float* qkv, const float* d_out,
    const float* lse, const float* delta, const QueryBlock* blocks, float* d_qkv, float scale, u32 heads, u32 kv_heads, u32 d) {
  attention_queries<float, 256>(qkv, d_out, lse, delta, blocks, d_qkv, scale, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2) attention_queries_bf16_256(const bf16* qkv, const bf16* d_out,
    const float* lse, const float* delta, const QueryBlock* blocks, bf16* d_qkv, float scale, u32 heads, u32 kv_heads, u32 d) {
  attention_queries<bf16, 256>(qkv, d_out, lse, delta, blocks, d_qkv, scale, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2) attention_keys_f32_256(const float* qkv, const float* d_out,
    const float* lse, const float* delta, const KeyBlock* blocks, const Run* runs, float* parts, float* d_qkv, float scale, u32 heads,
    u32 kv_heads, u32 d) {
  attention_keys<float, 256, 32, 16>(qkv, d_out, lse, delta, blocks, runs, parts, d_qkv, scale, heads, kv_heads, d);
}

extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 2) attention_keys_bf16_256(const bf16* qkv, const bf16* d_out,
    const float* lse, const float* delta, const KeyBlock* blocks, const Run* runs, float* parts, bf16* d_qkv, float scale, u32 heads,
    u32 kv_heads, u32 d) {
  attention_keys<bf16, 256, 32, 16>(qkv, d_out, lse, delta, blocks, runs, parts, d_qkv, scale, heads, kv_heads, d);
}
