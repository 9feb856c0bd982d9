"""TRL's GSPO-token: `trl.experimental.gspo_token.GRPOTrainer._compute_loss`."""

from trl import GRPOConfig
from trl.experimental.gspo_token import GRPOTrainer

from batches import batches
from trainers import Replay, bare, config, prompted

LONGEST = 32


def cases():
    found = batches()
    for name in ("ordinary", "first_epoch", "unequal", "far_apart"):
        for loss_type in ("grpo", "dapo"):
            for clip in (dict(epsilon=3e-4, epsilon_high=4e-4), dict(epsilon=0.2, epsilon_high=0.28, beta=0.04)):
                batch, settings = found[name], dict(loss_type=loss_type, **clip)
                args = config(GRPOConfig, max_completion_length=LONGEST, **settings)
                new = batch.new.clone().requires_grad_()
                # Its config no longer lets this level through, which its loss still knows.
                it = bare(GRPOTrainer, args, importance_sampling_level="sequence_token")
                it._get_per_token_logps_and_entropies = lambda *_, **__: (new, batch.entropy, None)
                loss = it._compute_loss(Replay(new), {**prompted(batch), "advantages": batch.advantages[:, 0]})
                loss.backward()
                yield dict(batch=name, settings=settings, loss=loss.item(), slopes=batch.unpad(new.grad))


def fixtures():
    return {"trl_gspo_token": dict(max_completion_length=LONGEST, cases=list(cases()))}
