"""Checkpoints with random weights, in which no parameter is at rest: a norm is not all ones, a bias is not zero."""

import json
import os

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

import families
import kinds


def config_of(family, tokenizer):
    """The config of a family, with the ids that its tokenizer gives to special tokens."""
    kind = kinds.KINDS[family.tokenizer]
    ends = [tokenizer.convert_tokens_to_ids(token) for token in kind.ends]
    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=ends or tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return AutoConfig.for_model(family.model_type, vocab_size=len(tokenizer), **ids, **{**families.SIZES, **family.config})


def randomise(model, seed):
    """Draws every parameter anew, each by what its name says it is."""
    draw = torch.Generator().manual_seed(seed)
    norms_are_offsets = model.config.model_type.startswith("gemma")
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=draw)
        if "norm" in name:
            value = 0.2 * noise if norms_are_offsets else 1 + 0.2 * noise
        elif "bias" in name:
            value = 0.2 * noise
        elif "sinks" in name:
            value = noise
        elif "router" in name or name.endswith("mlp.gate.weight"):
            value = 0.4 * noise
        else:
            value = 0.15 * noise
        parameter.data.copy_(value)


def save(family, tokenizer, seed, folder):
    """Writes the folder as it would be published: config, generation config, weights."""
    model = AutoModelForCausalLM.from_config(config_of(family, tokenizer))
    randomise(model, seed)
    model.generation_config = GenerationConfig(
        **{key: getattr(model.config, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}, **family.generation
    )
    model = model.to(getattr(torch, family.dtype))
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    if family.model_type == "gpt_oss":
        save_mxfp4(model, seed, folder)
    elif family.shards > 1:
        model.save_pretrained(folder, max_shard_size=int(size * 0.6))
    else:
        model.save_pretrained(folder)
    shards = [name for name in os.listdir(folder) if name.endswith(".safetensors")]
    assert len(shards) == family.shards, shards


def save_mxfp4(model, seed, folder):
    """Experts in blocks of 32 four-bit floats and a shared exponent, as gpt-oss is published; the rest as the model has it."""
    draw = torch.Generator().manual_seed(seed + 1)
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            experts, inputs, outputs = tensor.shape
            blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), generator=draw, dtype=torch.uint8)
            # The codes' values have a root mean square of about 3, which 2^-5 and its neighbours bring to about 0.1.
            scales = torch.randint(121, 124, (experts, outputs, inputs // 32), generator=draw, dtype=torch.uint8)
            tensors[f"{name}_blocks"], tensors[f"{name}_scales"] = blocks, scales
        else:
            tensors[name] = tensor.contiguous()
    model.config.architectures = [type(model).__name__]
    model.config.dtype = torch.bfloat16
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    rewrite(
        os.path.join(folder, "config.json"),
        lambda c: {**c, "quantization_config": {"modules_to_not_convert": kept, "quant_method": "mxfp4"}},
    )


def save_v4_config(family, folder):
    """The same config in the words of transformers 4, which most published checkpoints use."""
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    named = dict(torch_dtype=config["dtype"], transformers_version="4.51.3", **family.v4)
    config = {key: config[key] for key in config if key not in ("dtype", "rope_parameters", "layer_types", "_sliding_window_pattern")}
    with open(os.path.join(folder, "config.v4.json"), "w") as file:
        file.write(json.dumps(dict(sorted({**config, **named}.items())), indent=2) + "\n")


def load(folder, config=None):
    """The model of a folder as the reference computes it: float32, attention written out."""
    how = dict(dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    model, found = AutoModelForCausalLM.from_pretrained(folder, config=config, **how)
    assert not any(found.values()), f"{folder}: {found}"
    return model.eval()


def rewrite(path, change):
    with open(path) as file:
        content = change(json.load(file))
    with open(path, "w") as file:
        file.write(json.dumps(dict(sorted(content.items())), indent=2) + "\n")
