"""TRL's preference losses: `DPOTrainer._compute_loss`."""

from collections import defaultdict

import torch
from trl import DPOConfig, DPOTrainer

from batches import SEED, Batch
from trainers import Replay, bare, config

LABELS = {"exo_pair": 1e-3, "robust": 0.1}
TYPES = """sigmoid hinge ipo exo_pair nca_pair robust bco_pair sppo_hard apo_zero apo_down discopop sigmoid_norm""".split()


def pairs():
    """Chosen answers first, then as many rejected ones: TRL's order."""
    rng = torch.Generator().manual_seed(SEED)
    found = {
        "ordinary": Batch(rng, [8, 8, 8, 8, 8, 8]),
        "unequal": Batch(rng, [3, 12, 1, 5, 7, 2]),
        "others_speak": Batch(rng, [9, 8, 7, 9], unsampled=0.3),
        "far_apart": Batch(rng, [6, 6, 6, 6]),
    }
    for batch in found.values():
        # What TRL leaves out by its completion mask, we leave out by ours.
        batch.completion = torch.ones_like(batch.completion)
    far = found["far_apart"]
    far.reference = far.new - torch.tensor([4.0, -4.0, -4.0, 4.0], dtype=torch.float64).unsqueeze(1) - far.advantages * 0.1
    return found


def evaluate(batch, settings):
    new = batch.new.clone().requires_grad_()
    args = config(DPOConfig, **settings)
    extra = dict(loss_types=args.loss_type, loss_weights=[1.0], f_alpha_divergence_coef=0.5, precompute_ref_logps=False)
    it = bare(DPOTrainer, args, ref_model=Replay(batch.reference), _total_train_tokens=0, _tp_size=1, **extra)
    it._metrics["train"] = defaultdict(list)
    prompt = torch.zeros(new.size(0), 1, dtype=torch.long)
    inputs = {
        "input_ids": torch.ones(new.size(0), new.size(1) + 1, dtype=torch.long),
        "attention_mask": torch.ones(new.size(0), new.size(1) + 1, dtype=torch.long),
        "completion_mask": torch.cat([prompt, batch.mask], dim=1),
    }
    loss = it._compute_loss(Replay(new), inputs, return_outputs=False)
    loss.backward()
    return loss.item(), new.grad.tolist()


def cases():
    for name, batch in pairs().items():
        for loss_type in TYPES:
            for beta in (0.1, 0.5):
                settings = dict(loss_type=[loss_type], beta=beta, label_smoothing=LABELS.get(loss_type, 0.0))
                loss, slopes = evaluate(batch, settings)
                yield dict(batch=name, settings={**settings, "loss_type": loss_type}, loss=loss, slopes=slopes)


def fixtures():
    return {"trl_preference": dict(batches={name: batch.json() for name, batch in pairs().items()}, cases=list(cases()))}
