"""Adapters of every family, made and run by PEFT."""

import json
import os

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

import reference

RANK = 4
ALPHA = 8


def save(name, family, model, seed, folder):
    """Writes adapter/: the adapter as PEFT saves it, what the model answers with it, and its slopes."""
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=family.targets, bias="none", task_type="CAUSAL_LM", **family.adapter
    )
    adapted = get_peft_model(model, config).eval()
    randomise(adapted, seed)
    # A path of the machine it was made on would say nothing to anyone else.
    adapted.peft_config["default"].base_model_name_or_path = name
    adapted.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))

    ids, _, coefficients = reference.inputs(model.config.vocab_size, seed)
    reference.check_routing(adapted, ids)
    with torch.no_grad():
        logits = reference.logits_of(adapted, ids)
    loss = reference.loss_of(adapted, ids, coefficients)
    loss.backward()
    # Under the names of adapter_model.safetensors: the trained parameters are those that have a gradient.
    slopes = get_peft_model_state_dict(adapted, {name: p.grad for name, p in adapted.named_parameters() if p.grad is not None})
    reference.save({"adapter_logits": logits, "adapter_loss": loss.reshape(1)}, os.path.join(folder, "expected.safetensors"))
    reference.save(slopes, os.path.join(folder, "gradients.safetensors"))
    return logits


def randomise(adapted, seed):
    """No part of an adapter is at rest: B is not zero, and DoRA's magnitudes are not the norms they start from."""
    draw = torch.Generator().manual_seed(seed + 3)
    for name, parameter in adapted.named_parameters():
        if not parameter.requires_grad:
            continue
        noise = torch.randn(parameter.shape, generator=draw)
        parameter.data = parameter.data * (1 + 0.2 * noise) if "magnitude" in name else 0.15 * noise
