"""TRL's PPO: rewards, advantages, returns, policy loss and value loss.

They stand in the middle of `PPOTrainer.train`, from where they are lifted.

A response is padded to the longest, and what is padded is masked twice: `own` are a response's tokens, which the policy's loss is a mean
over; `valued` are those and the one after them, if there is room, which gets the score and which the value loss is a mean over too.
"""

from types import SimpleNamespace

import torch
from trl.experimental.ppo.ppo_trainer import INVALID_LOGPROB, PPOTrainer

from batches import SEED, Batch
from lift import lift

SETTINGS = dict(gamma=0.99, lam=0.95, kl_coef=0.05, kl_estimator="k1", cliprange=0.2, cliprange_value=0.2, vf_coef=0.1)
credit = lift(PPOTrainer.train, "logr", "advantages")
losses = lift(PPOTrainer.train, "vpredclipped", "loss")


def case(name, lengths, drift, **more):
    rng = torch.Generator().manual_seed(SEED + len(name))
    batch, args = Batch(rng, lengths, drift=drift), SimpleNamespace(**SETTINGS, **more)
    normal = lambda scale: scale * torch.randn(batch.new.shape, generator=rng, dtype=torch.float64)
    last = torch.tensor(lengths) - 1
    place = torch.arange(batch.new.size(1)).repeat(len(lengths), 1)
    padding, after = place > last.unsqueeze(1), place > last.unsqueeze(1) + 1
    fill = lambda tensor, mask, value: torch.masked_fill(tensor, mask, value)
    old, reference = fill(batch.old, padding, INVALID_LOGPROB), fill(batch.reference, padding, INVALID_LOGPROB)
    values, scores = fill(normal(0.5), after, 0.0), torch.randn(len(lengths), generator=rng, dtype=torch.float64)

    made = credit(
        args=args,
        logprobs=old,
        ref_logprobs=reference,
        values=values,
        scores=scores,
        responses=place,
        sequence_lengths=last,
        sequence_lengths_p1=last + 1,
        padding_mask=padding,
        padding_mask_p1=after,
        empty_cache=lambda: None,
    )
    new = fill(batch.new, padding, INVALID_LOGPROB).requires_grad_()
    seen = fill(values + normal(0.3), after, 0.0).requires_grad_()
    found = losses(
        args=args,
        vpred=seen,
        mb_values=values,
        mb_return=made["returns"],
        new_logprobs=new,
        mb_logprobs=old,
        mb_advantage=made["advantages"],
        padding_mask=padding,
        padding_mask_p1=after,
        micro_batch_inds=torch.arange(len(lengths)),
    )
    found["pg_loss"].backward()
    found["vf_loss"].backward()
    tensors = dict(
        rewards=made["rewards"],
        values=values,
        raw_advantages=made["returns"] - values,
        returns=made["returns"],
        advantages=made["advantages"],
        old=old,
        new=new.detach(),
        policy_slopes=new.grad,
        new_values=seen.detach(),
        value_slopes=seen.grad,
    )
    outcome = dict(policy_loss=found["pg_loss"].item(), value_loss=found["vf_loss"].item(), loss=found["loss"].item())
    masks = dict(own=(~padding).tolist(), valued=(~after).tolist())
    return dict(name=name, settings=vars(args), scores=scores.tolist(), **masks, **{k: v.tolist() for k, v in tensors.items()}, **outcome)


def fixtures():
    plain = dict(whiten_rewards=False)
    cases = [
        case("ordinary", [8, 8, 8, 8], 0.3, **plain),
        case("unequal", [2, 9, 5, 1, 7], 0.3, **plain),
        case("first_epoch", [6, 4, 6], 0.0, **plain),
        case("whitened_rewards", [6, 3, 5, 6], 0.3, whiten_rewards=True),
    ]
    return {"trl_ppo": dict(cases=cases)}
