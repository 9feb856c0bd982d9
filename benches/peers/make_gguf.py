"""The made checkpoints as GGUF, which llama.cpp reads: f32, without a vocabulary, since tokens go in and out as numbers."""

import os

import gguf
import torch
from safetensors.torch import load_file

from shapes import SHAPES, models

NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
WHOLE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


def side_by_side(weight, heads):
    """Rows of a projection as llama.cpp turns them: the two halves of a pair next to each other, not half a head apart."""
    rows, width = weight.shape
    return weight.view(heads, 2, rows // heads // 2, width).transpose(1, 2).reshape(rows, width)


def tensors(weights, shape):
    heads = {"attn_q": shape["num_attention_heads"], "attn_k": shape["num_key_value_heads"]}
    for name, weight in weights.items():
        if name in WHOLE:
            yield WHOLE[name], weight
        elif name != "lm_head.weight":
            _, _, layer, part = name.removesuffix(".weight").split(".", 3)
            part = NAMES[part]
            yield f"blk.{layer}.{part}.weight", side_by_side(weight, heads[part]) if part in heads else weight


for name, shape in SHAPES.items():
    path = os.path.join(models(), f"{name}.gguf")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_context_length(2048)
    writer.add_embedding_length(shape["hidden_size"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["num_attention_heads"])
    writer.add_head_count_kv(shape["num_key_value_heads"])
    writer.add_rope_dimension_count(shape["hidden_size"] // shape["num_attention_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for to, weight in tensors(load_file(os.path.join(models(), name, "model.safetensors")), shape):
        writer.add_tensor(to, weight.to(torch.float32).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{name}: {path}")
