"""The families whose checkpoints are made: what each config says, and which tokenizer, template and adapter go with it.

Sizes are as small as the family's peculiarities allow. Numbers that a real checkpoint sets out of reach of 24 tokens (windows, caps,
frequencies) are drawn near, so that ignoring them changes every logit.
"""

from dataclasses import dataclass, field

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
LINEAR = ATTENTION + ["gate_proj", "up_proj", "down_proj"]
SIZES = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512
)


@dataclass(frozen=True)
class Family:
    """One folder of fixtures. `config` overrides SIZES; the ids of special tokens and the vocabulary's size come from the tokenizer."""

    model_type: str
    tokenizer: str
    config: dict
    # The dtype on disk. Expected values are always computed in float32 from what is on disk.
    dtype: str = "float32"
    generation: dict = field(default_factory=dict)
    targets: list = field(default_factory=lambda: LINEAR)
    adapter: dict = field(default_factory=dict)
    # Whether a key written to the cache is never rotated anew, so that decoding differs from a prefill of the same ids.
    stale_keys: bool = False
    gradients: bool = False
    # Added to the seed that the name gives, where that one ends in a near tie.
    reseed: int = 0
    shards: int = 1
    v4: dict | None = None


def rope(theta, kind="default", **more):
    return {"rope_parameters": {"rope_theta": theta, "rope_type": kind, **more}}


SAMPLED = dict(do_sample=True, temperature=0.6, top_p=0.9)
LLAMA3 = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
LINEAR8 = dict(rope_type="linear", factor=8.0)
FAMILIES = {
    "llama": Family(
        "llama",
        "llama",
        {**rope(500000.0, "llama3", **LLAMA3), "rms_norm_eps": 1e-5, "head_dim": 16},
        generation=SAMPLED,
        gradients=True,
        v4=dict(rope_theta=500000.0, rope_scaling={**LLAMA3, "rope_type": "llama3"}),
    ),
    "smollm2": Family("llama", "smollm2", {**rope(100000.0), "rms_norm_eps": 1e-5, "tie_word_embeddings": True}),
    "qwen3": Family(
        "qwen3",
        "qwen3",
        {**rope(1000000.0), "head_dim": 16, "tie_word_embeddings": True},
        generation={**SAMPLED, "top_k": 20},
        gradients=True,
        v4=dict(rope_theta=1000000.0, rope_scaling=None, max_window_layers=2),
    ),
    "qwen2": Family(
        "qwen2",
        "qwen2",
        {**rope(1000000.0), "tie_word_embeddings": True},
        generation={**SAMPLED, "top_k": 20},
        adapter=dict(use_rslora=True),
    ),
    "mistral": Family(
        "mistral", "mistral", {**rope(10000.0), "sliding_window": 8, "head_dim": 16, "rms_norm_eps": 1e-5}, targets=["q_proj", "v_proj"]
    ),
    "gemma3": Family(
        "gemma3_text",
        "gemma3",
        {
            "num_hidden_layers": 4,
            "head_dim": 16,
            "sliding_window": 8,
            "sliding_window_pattern": 3,
            "query_pre_attn_scalar": 24,
            "rope_parameters": {
                "full_attention": {"rope_theta": 1000000.0, **LINEAR8},
                "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
            },
        },
        generation=dict(do_sample=True, top_k=64, top_p=0.95),
        v4=dict(rope_theta=1000000.0, rope_local_base_freq=10000.0, rope_scaling=LINEAR8, sliding_window_pattern=3),
    ),
    "gemma2": Family(
        "gemma2",
        "gemma2",
        {
            **rope(10000.0),
            "num_hidden_layers": 4,
            "head_dim": 16,
            "sliding_window": 8,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "phi3": Family(
        "phi3",
        "phi3",
        {**rope(10000.0), "sliding_window": 8, "rms_norm_eps": 1e-5},
        targets=FUSED,
    ),
    "olmo2": Family("olmo2", "olmo2", {**rope(500000.0), "rms_norm_eps": 1e-6}),
    "smollm3": Family(
        "smollm3",
        "smollm3",
        {**rope(5000000.0), "num_hidden_layers": 4, "no_rope_layer_interval": 4, "tie_word_embeddings": True},
        generation=dict(do_sample=True, temperature=0.6, top_p=0.95),
    ),
    "gpt_oss": Family(
        "gpt_oss",
        "gpt_oss",
        {
            "rope_parameters": {
                "rope_theta": 150000.0,
                "rope_type": "yarn",
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 4096,
            },
            # Two blocks of 32 to a row, and one.
            "hidden_size": 64,
            "intermediate_size": 32,
            "head_dim": 16,
            "num_hidden_layers": 4,
            "sliding_window": 8,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "swiglu_limit": 1.5,
            "max_position_embeddings": 131072,
        },
        dtype="bfloat16",
        targets=ATTENTION,
        generation=dict(do_sample=True),
        reseed=1,
    ),
    "qwen3_moe": Family(
        "qwen3_moe",
        "qwen3",
        {
            **rope(1000000.0),
            "head_dim": 16,
            "moe_intermediate_size": 16,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
        },
        targets=ATTENTION,
        reseed=1,
    ),
    "llama2": Family(
        "llama",
        "llama2",
        {**rope(10000.0, "linear", factor=4.0), "num_key_value_heads": 4, "rms_norm_eps": 1e-5},
        dtype="bfloat16",
        generation=SAMPLED,
    ),
    # 16 positions are original: sequences of 24 and of 17 tokens are stretched, one of 9 is not.
    "llama_dynamic": Family("llama", "llama2", {**rope(10000.0, "dynamic", factor=4.0), "max_position_embeddings": 16}, stale_keys=True),
    "llama_yarn": Family(
        "llama",
        "llama2",
        {**rope(10000.0, "yarn", factor=4.0, original_max_position_embeddings=512), "max_position_embeddings": 2048},
        adapter=dict(use_dora=True),
        reseed=1,
    ),
    "llama_sharded": Family("llama", "llama", {**rope(500000.0), "head_dim": 16}, dtype="float16", shards=2),
    # Long factors apply to 24 and to 17 tokens, short ones to 9.
    "phi3_longrope": Family(
        "phi3",
        "phi3",
        {
            **rope(
                10000.0,
                "longrope",
                short_factor=[1.0, 1.1, 1.3, 1.6],
                long_factor=[1.2, 2.0, 5.0, 9.0],
                original_max_position_embeddings=16,
            ),
            "original_max_position_embeddings": 16,
            "sliding_window": None,
        },
        targets=FUSED,
        stale_keys=True,
    ),
}
