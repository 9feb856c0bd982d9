"""TRL's GRPO losses and GMPO: `GRPOTrainer._compute_loss`, `GMPOTrainer._compute_loss`."""

import torch
from trl import GRPOConfig, GRPOTrainer
from trl.experimental.gmpo import GMPOConfig, GMPOTrainer

from batches import batches
from trainers import Replay, bare, config, prompted

LONGEST = 32
CLIP = dict(epsilon=0.2, epsilon_high=0.28)
# Ours is the plain estimate, as TRL's was by default up to 1.9.
PLAIN = dict(beta=0.04, use_bias_correction_kl=False)
TRAINERS = {"grpo_trainer": (GRPOConfig, GRPOTrainer), "gmpo_trainer": (GMPOConfig, GMPOTrainer)}


def evaluate(trainer, batch, settings, parts=1, weights=None):
    """The loss, and its slopes by log-probability and by entropy. `parts` micro-batches of equal size are accumulated."""
    Config, Trainer = TRAINERS[trainer]
    args = config(Config, max_completion_length=LONGEST, gradient_accumulation_steps=parts, steps_per_generation=parts, **settings)
    new, entropy = batch.new.clone().requires_grad_(), batch.entropy.clone().requires_grad_()
    rows, loss = new.size(0) // parts, 0.0
    for start in range(0, new.size(0), rows):
        part = slice(start, start + rows)
        inputs = {**prompted(batch.rows(part)), "num_items_in_batch": batch.mask.sum()}
        if trainer == "gmpo_trainer":
            inputs["advantages"] = inputs["advantages"][:, 0]
        it = bare(Trainer, args)
        if weights is not None:
            it.use_vllm, inputs["importance_sampling_ratio"] = True, weights[part]
        loss = loss + it._compute_loss(Replay(new[part], entropy[part]), inputs)
    loss.backward()
    slopes = entropy.grad if entropy.grad is not None else torch.zeros_like(entropy)
    return loss.item(), batch.unpad(new.grad), batch.unpad(slopes)


def asked():
    """Batch, settings and number of micro-batches of every case."""
    level = dict(importance_sampling_level="sequence")
    usual = ("ordinary", "first_epoch", "others_speak", "unequal", "far_apart", "one_is_empty", "credit_by_token")
    for batch in usual:
        for loss_type in ("grpo", "bnpo", "dr_grpo", "dapo", "luspo"):
            yield batch, dict(loss_type=loss_type, **CLIP), 1
        for loss_type in ("grpo", "dapo", "luspo"):
            yield batch, dict(loss_type=loss_type, **level, **CLIP), 1
        yield batch, dict(loss_type="grpo", **level, epsilon=3e-4, epsilon_high=4e-4), 1
        yield batch, dict(loss_type="cispo", epsilon_high=5.0), 1
        yield batch, dict(loss_type="cispo", epsilon_high=1.1), 1
        yield batch, dict(loss_type="sapo"), 1
        yield batch, dict(loss_type="vespo"), 1
        yield batch, dict(loss_type="dapo", delta=3.0, **CLIP), 1
        yield batch, dict(loss_type="grpo", delta=1.5, **level, **CLIP), 1
        for loss_type, settings in (("dapo", CLIP), ("grpo", {**CLIP, **level}), ("cispo", {"epsilon_high": 5.0}), ("vespo", {})):
            yield batch, dict(loss_type=loss_type, **PLAIN, **settings), 1
    for loss_type in ("grpo", "dapo", "dr_grpo", "luspo"):
        yield "others_speak", dict(loss_type=loss_type, **CLIP), 3


def cases():
    found = batches()
    for name, settings, parts in asked():
        loss, slopes, _ = evaluate("grpo_trainer", found[name], settings, parts)
        yield dict(batch=name, trainer="grpo_trainer", settings=settings, micro_batches=parts, loss=loss, slopes=slopes)
    # In GMPO an empty sequence still loses -A, which has no slope, and in ours nothing.
    for name in ("ordinary", "first_epoch", "others_speak", "unequal", "far_apart"):
        for settings in (dict(epsilon=0.4), dict(epsilon=0.15, epsilon_high=0.3, beta=0.04, use_bias_correction_kl=False)):
            loss, slopes, _ = evaluate("gmpo_trainer", found[name], settings)
            yield dict(batch=name, trainer="gmpo_trainer", settings=settings, micro_batches=1, loss=loss, slopes=slopes)


def entropy_cases():
    """With a bonus for entropy, which TRL takes in the mean over tokens whatever the loss: ours weighs it as it weighs the loss."""
    found = batches()
    for name in ("ordinary", "others_speak", "unequal"):
        settings = dict(loss_type="dapo", entropy_coef=0.01, **CLIP)
        loss, slopes, of_entropy = evaluate("grpo_trainer", found[name], settings)
        yield dict(batch=name, settings=settings, loss=loss, slopes=slopes, entropy_slopes=of_entropy)


def fixtures():
    written = {name: batch.json() for name, batch in batches().items()}
    return {
        "trl_policy": dict(max_completion_length=LONGEST, batches=written, cases=list(cases())),
        "trl_entropy": dict(cases=list(entropy_cases())),
    }
