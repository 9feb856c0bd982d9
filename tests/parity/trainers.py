"""TRL's trainers without what they need for training: no model is loaded, nothing is generated, no process is started.

A trainer is made without its `__init__`, and given the attributes that its loss reads, from its own config class. What is then called is
the library's own method. The model is a [`Replay`], which answers with log-probabilities that were given to it.
"""

import tempfile
from collections import defaultdict
from types import SimpleNamespace

import torch
from accelerate import Accelerator

SAME = """aux_loss_enabled beta entropy_coef f_divergence_type importance_sampling_level ld_alpha loss_type loss_weights
mask_truncated_completions max_completion_length multi_objective_aggregation normalize_advantages num_generations num_iterations
off_policy_mask_threshold pad_to_multiple_of reward_clip_range scale_rewards top_entropy_quantile use_adaptive_entropy use_vllm
use_weighting label_smoothing vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_importance_sampling_clip_min
vllm_importance_sampling_clip_max""".split()


class Replay:
    """A model, as far as a loss can tell."""

    training = True
    is_gradient_checkpointing = False
    # Where PEFT is installed, TRL unwraps a model to see whether it is an adapter, and looks here for compiled parts.
    _modules = {}

    def __init__(self, log_probs, entropy=None):
        self.log_probs, self.entropy = log_probs, entropy

    def __call__(self, labels=None, **_):
        width = self.log_probs.size(1)
        scored = (labels[:, -width:] != -100) if labels is not None else torch.ones_like(self.log_probs)
        zeros = torch.zeros_like(self.log_probs)
        return SimpleNamespace(
            log_probs=self.log_probs * scored,
            entropy=zeros if self.entropy is None else self.entropy,
            mean_logits=zeros.detach(),
            is_top1=zeros.bool(),
            aux_loss=None,
        )


def config(kind, **settings):
    """A trainer's config with its own defaults and validation."""
    return kind(output_dir=tempfile.gettempdir(), use_cpu=True, bf16=False, report_to="none", **settings)


def bare(kind, args, **more):
    """A trainer of class `kind` that has been through no `__init__`."""
    it = object.__new__(kind)
    for name in SAME:
        if hasattr(args, name):
            setattr(it, name, getattr(args, name))
    it.args = args
    it.accelerator = Accelerator(cpu=True)
    it.model = Replay(torch.zeros(1, 1))
    it.aux_loss_enabled = False
    it.current_gradient_accumulation_steps = args.gradient_accumulation_steps
    it._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    if hasattr(args, "epsilon"):
        it.epsilon_low = args.epsilon
        it.epsilon_high = args.epsilon if args.epsilon_high is None else args.epsilon_high
        it._entropy_bonus_enabled = getattr(args, "entropy_coef", 0.0) != 0.0
    for name, value in more.items():
        setattr(it, name, value)
    return it


def prompted(batch):
    """A batch as the policy losses take it: after a prompt of one token."""
    rows = batch.mask.size(0)
    one = torch.ones(rows, 1, dtype=torch.long)
    return {
        "prompt_ids": one,
        "prompt_mask": one,
        "completion_ids": torch.ones_like(batch.mask),
        "completion_mask": batch.completion,
        "tool_mask": batch.mask,
        "num_items_in_batch": batch.mask.sum(),
        "old_per_token_logps": batch.old,
        "ref_per_token_logps": batch.reference,
        "advantages": batch.advantages,
    }
