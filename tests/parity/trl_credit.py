"""Advantages and importance weights, out of `_generate_and_score_completions` of TRL's GRPO and RLOO trainers; and RLOO's loss.

The method runs as it is; what it calls to sample completions and to score them is replaced by tokens and rewards that are given.
"""

from types import SimpleNamespace

import torch
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from batches import SEED, batches
from trainers import Replay, bare, config, prompted

MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")


def rollout(Trainer, args, rewards, batch=None, **more):
    """What the trainer makes of completions with these rewards, `[groups, members]`."""
    count = rewards.numel()
    lengths = batch.completion.sum(1).tolist() if batch else [3] * count
    shape = (count, max(lengths))
    it = bare(
        Trainer,
        args,
        model=Replay(batch.old if batch else torch.zeros(shape, dtype=torch.float64)),
        ref_model=None,
        environment_factories=None,
        environments=None,
        tools=None,
        reward_weights=torch.ones(1),
        reward_funcs=[None],
        reward_func_names=["given"],
        eos_token_ids=[0],
        log_multimodal=False,
        _tokenizer=SimpleNamespace(pad_token_id=0),
        _logs={name: [] for name in ("prompt", "completion", "advantages")} | {"rewards": {"given": []}, "extra": {}},
        _pending_extra_logs={},
        _pending_metrics={},
        **more,
    )
    ids = [[1] * length for length in lengths]
    sampler = [row.tolist()[:length] for row, length in zip(batch.sampler, lengths)] if batch else None
    tool_mask = [row.tolist()[:length] for row, length in zip(batch.mask, lengths)] if batch else None
    generated = [[[1]] * count, ids, tool_mask, ["said"] * count, sampler, {}, None, None]
    if Trainer is RLOOTrainer:
        generated = [[[1]] * count, ids, ["said"] * count]
    it._generate = lambda prompts: tuple(generated)
    it._calculate_rewards = lambda *_: rewards.reshape(-1, 1)
    return it._generate_and_score_completions([{"prompt": "asked"}] * count)


def rewards():
    """Groups of four, as many as a batch may have."""
    rng = torch.Generator().manual_seed(SEED)
    return {
        "scores": torch.randn(3, 4, generator=rng, dtype=torch.float64),
        "right_or_wrong": torch.tensor([[1, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 0]], dtype=torch.float64),
        "one_group_is_flat": torch.tensor([[0.1, 0.7, 0.2, 0.3], [0.1, 0.1, 0.1, 0.1]], dtype=torch.float64),
        "nearly_flat": torch.tensor([[0.5, 0.5, 0.5, 0.50001], [1e3, 1e3 + 1, 1e3 - 1, 1e3]], dtype=torch.float64),
    }


def advantages():
    sizes = dict(num_generations=4, per_device_train_batch_size=16)
    for name, given in rewards().items():
        for scale in ("group", "batch", "none"):
            args = config(GRPOConfig, scale_rewards=scale, **sizes)
            found = rollout(GRPOTrainer, args, given)["advantages"]
            yield dict(trainer="grpo", scale_rewards=scale, rewards=given.tolist(), advantages=found.view(-1, 4).tolist())
        args = config(RLOOConfig, beta=0.0, **sizes)
        found = rollout(RLOOTrainer, args, given)["advantages"]
        yield dict(trainer="rloo", rewards=given.tolist(), advantages=found.view(-1, 4).tolist())


def importance():
    """Weights of what another policy sampled, and the loss with them."""
    from trl_policy import CLIP, PLAIN, evaluate

    for name in ("ordinary", "others_speak"):
        batch = batches()[name]
        for mode in MODES:
            for low, high in ((None, 1.2), (0.8, 1.5)):
                settings = dict(
                    vllm_importance_sampling_mode=mode, vllm_importance_sampling_clip_min=low, vllm_importance_sampling_clip_max=high
                )
                args = config(GRPOConfig, num_generations=6, per_device_train_batch_size=6, **settings)
                given = torch.zeros(1, batch.new.size(0), dtype=torch.float64)
                found = rollout(GRPOTrainer, args, given, batch, use_vllm=True)["importance_sampling_ratio"]
                weights = found.expand(batch.new.shape)
                loss, slopes, _ = evaluate("grpo_trainer", batch, dict(loss_type="dapo", **PLAIN, **CLIP), weights=weights)
                limits = dict(mode=mode, clip_min=low, clip_max=high)
                yield dict(batch=name, **limits, weights=batch.unpad(weights), loss=loss, slopes=slopes)


def leave_one_out():
    """RLOO's loss: the ratio is the product of an answer's ratios."""
    found = batches()
    for name in ("first_epoch", "single_tokens"):
        batch = found[name]
        new = batch.new.clone().requires_grad_()
        inputs = {**prompted(batch), "old_logps": (batch.old * batch.completion).sum(1), "advantages": batch.advantages[:, 0]}
        loss = bare(RLOOTrainer, config(RLOOConfig))._compute_loss(Replay(new, batch.entropy), inputs)
        loss.backward()
        yield dict(batch=name, settings=dict(epsilon=0.2), loss=loss.item(), slopes=batch.unpad(new.grad))


def fixtures():
    return {
        "trl_advantages": dict(cases=list(advantages())),
        "trl_importance": dict(cases=list(importance())),
        "trl_rloo": dict(cases=list(leave_one_out())),
    }
