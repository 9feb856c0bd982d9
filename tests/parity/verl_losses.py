"""verl's mathematics: policy losses, value loss, KL estimates, advantages. All of it functions of `verl.trainer.ppo.core_algos`.

Only that module and what it computes with are imported: `verl` itself and its configuration would draw in Ray and much else.
"""

import sys
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
import torch

from batches import SEED, batches


class Settings(SimpleNamespace):
    """What a policy loss reads of verl's `ActorConfig`, with its defaults."""

    def __init__(self, **changed):
        usual = dict(clip_ratio=0.2, clip_ratio_low=0.2, clip_ratio_high=0.2, clip_ratio_c=3.0, tau_pos=1.0, tau_neg=1.05)
        super().__init__(**{**usual, "global_batch_info": {}, **changed})

    def get(self, name, default=None):
        return getattr(self, name, default)


def bypass():
    """Stands in for the modules that are not wanted."""
    folder = find_spec("verl").submodule_search_locations
    sys.modules["verl"] = ModuleType("verl")
    sys.modules["verl"].__path__ = list(folder)
    for name, member, value in (("tensordict", "TensorDict", dict), ("verl.workers.config", "ActorConfig", Settings)):
        sys.modules[name] = ModuleType(name)
        setattr(sys.modules[name], member, value)


LIBRARY = f"verl {version('verl')}"
LONGEST = 32
bypass()
from verl.trainer.ppo import core_algos  # noqa: E402

SCALED = dict(global_batch_info=dict(loss_scale_factor=LONGEST))
AGGREGATIONS = {"token-mean": {}, "seq-mean-token-sum": {}, "seq-mean-token-mean": {}, "seq-mean-token-sum-norm": SCALED}


def asked():
    """Loss, aggregation and settings."""
    for mode, more in AGGREGATIONS.items():
        yield "vanilla", mode, dict(clip_ratio_high=0.28, **more)
        yield "gspo", mode, dict(clip_ratio_low=3e-4, clip_ratio_high=4e-4, **more)
    yield "vanilla", "token-mean", dict(clip_ratio_c=1.5)
    yield "gspo", "token-mean", {}
    yield "cispo", "token-mean", {}
    yield "cispo", "seq-mean-token-mean", dict(clip_ratio_low=0.9, clip_ratio_high=4.0)
    yield "sapo", "seq-mean-token-mean", {}
    yield "geo_mean", "seq-mean-token-mean", dict(clip_ratio_low=0.4, clip_ratio_high=0.4)
    yield "gpg", "token-mean", {}
    yield "dppo_tv", "token-mean", dict(clip_ratio_c=1e12)


def policies():
    for name, batch in batches().items():
        # An empty sequence counts among the others in ours and in TRL's, but not in verl's.
        for loss_mode, mode, settings in asked() if name != "one_is_empty" else []:
            if (loss_mode, name) == ("geo_mean", "credit_by_token"):
                continue
            new = batch.new.clone().requires_grad_()
            function = core_algos.get_policy_loss_fn(loss_mode)
            loss, _ = function(batch.old, new, batch.advantages, batch.mask, mode, Settings(**settings))
            loss.backward()
            told = {key: value for key, value in settings.items() if key != "global_batch_info"}
            yield dict(batch=name, loss_mode=loss_mode, aggregation=mode, settings=told, loss=loss.item(), slopes=batch.unpad(new.grad))


def divergences():
    """A loss that is nothing but an estimate of KL, averaged over tokens."""
    for name in ("ordinary", "others_speak", "unequal"):
        for estimator in ("k1", "k2", "k3"):
            batch = batches()[name]
            new = batch.new.clone().requires_grad_()
            loss = core_algos.agg_loss(core_algos.kl_penalty(new, batch.reference, estimator), batch.mask, "token-mean")
            loss.backward()
            yield dict(batch=name, estimator=estimator, loss=loss.item(), slopes=batch.unpad(new.grad))


def values():
    """GAE across what others say, and the clipped value loss."""
    rng = torch.Generator().manual_seed(SEED)
    for name in ("ordinary", "others_speak", "unequal"):
        batch = batches()[name]
        normal = lambda: torch.randn(batch.new.shape, generator=rng, dtype=torch.float64)
        mask, rewards, old = batch.mask, normal() * batch.mask, normal() * 0.5
        gamma, lam, clip = 0.99, 0.95, 0.2
        advantages, returns = core_algos.compute_gae_advantage_return(rewards, old, mask.double(), gamma, lam)
        new = (old + 0.3 * normal()).requires_grad_()
        loss, _ = core_algos.compute_value_loss(new, returns, old, mask, clip)
        loss.backward()
        tensors = dict(rewards=rewards, values=old, returns=returns, advantages=advantages, new_values=new.detach(), value_slopes=new.grad)
        told = {key: batch.unpad(tensor) for key, tensor in tensors.items()}
        yield dict(batch=name, settings=dict(gamma=gamma, lam=lam, cliprange_value=clip), value_loss=loss.item(), **told)


def advantages():
    """By answer; each is the same at all of an answer's tokens."""
    rng = torch.Generator().manual_seed(SEED)
    estimators = ("rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline")
    for name in ("ordinary", "others_speak", "unequal"):
        mask = batches()[name].mask
        scores = torch.randn(mask.size(0), generator=rng, dtype=torch.float64)
        # Wherever a reward stands, what counts is the sum; REINFORCE++ discounts by 1, so that only what comes before has part in it.
        tokens = mask.double() * 0.0
        tokens[torch.arange(mask.size(0)), mask.size(1) - 1 - mask.flip(1).argmax(1)] = scores
        groups = np.arange(mask.size(0)) // 3
        for estimator in estimators:
            function = core_algos.get_adv_estimator_fn(estimator)
            more = dict(config=SimpleNamespace(gamma=1.0)) if estimator == "reinforce_plus_plus" else dict(index=groups)
            found, _ = function(token_level_rewards=tokens.clone(), response_mask=mask.double(), **more)
            of = [row[own.bool()].tolist() for row, own in zip(found, mask)]
            sizes = dict(rewards=scores.view(-1, 3).tolist(), tokens=mask.sum(1).view(-1, 3).tolist())
            yield dict(estimator=estimator, **sizes, advantages=[row[0] for row in of], spread=[max(row) - min(row) for row in of])


def fixtures():
    return {
        "verl_policy": dict(max_completion_length=LONGEST, cases=list(policies())),
        "verl_kl": dict(cases=list(divergences())),
        "verl_values": dict(cases=list(values())),
        "verl_advantages": dict(cases=list(advantages())),
    }
