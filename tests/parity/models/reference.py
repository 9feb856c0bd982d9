"""What a model answers: logits at once, by steps and of a batch; a greedy continuation; slopes of a loss."""

import torch
from safetensors.torch import save_file
from transformers import AutoConfig

import weights

LENGTH = 24
PREFILL = 10
BATCH = (24, 9, 17)
NEW = 12
FIRST_SCORED = 5
# Closer than this, rounding would decide which token or expert wins.
MARGIN = 1e-3


def inputs(vocabulary, seed):
    """Ids [1, 24], ids of a batch end to end [50], coefficients of the loss [24] (0 before position 5)."""
    draw = torch.Generator().manual_seed(seed + 2)
    ids = torch.randint(0, vocabulary, (1, LENGTH), generator=draw)
    batch = torch.randint(0, vocabulary, (sum(BATCH),), generator=draw)
    coefficients = torch.randn(LENGTH, generator=draw)
    coefficients[:FIRST_SCORED] = 0
    return ids, batch, coefficients


def logits_of(model, ids):
    """[time, vocabulary]"""
    return model(ids, use_cache=False).logits[0]


def loss_of(model, ids, coefficients):
    """The sum over positions t of `coefficients[t] * log p(ids[t] | ids[..t])`."""
    chosen = logits_of(model, ids)[:-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return (chosen * coefficients[1:]).sum()


@torch.no_grad()
def decoded(model, ids):
    """The logits of positions 10 and on, fed one at a time after a prefill of 10, and those of the prefill."""
    first = model(ids[:, :PREFILL], use_cache=True)
    rows, cache = [], first.past_key_values
    for position in range(PREFILL, ids.shape[1]):
        step = model(ids[:, position : position + 1], past_key_values=cache, use_cache=True)
        rows.append(step.logits[0, 0])
        cache = step.past_key_values
    return torch.stack(rows), first.logits[0]


@torch.no_grad()
def greedy(model, ids):
    """12 ids that follow the first 10, each the likeliest, and by clearly more than rounding."""
    prompt = ids[:, :PREFILL]
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=NEW,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    best = torch.stack(out.logits).topk(2, dim=-1).values
    assert (best[..., 0] - best[..., 1]).min() > MARGIN, "a near tie: choose another seed"
    tokens = out.sequences[0, PREFILL:]
    assert len(tokens) == NEW, "ended early: choose another seed"
    return tokens


def check_routing(model, ids):
    """No token's experts hang on rounding."""
    if getattr(model.config, "num_experts_per_tok", None) is None:
        return
    kept = model.config.num_experts_per_tok
    with torch.no_grad():
        for scores in model(ids, output_router_logits=True, use_cache=False).router_logits:
            ranked = scores.sort(dim=-1, descending=True).values
            assert (ranked[:, kept - 1] - ranked[:, kept]).min() > MARGIN, "a near tie of experts: choose another seed"


@torch.no_grad()
def expected(family, model, seed):
    """The tensors of expected.safetensors."""
    ids, batch, coefficients = inputs(model.config.vocab_size, seed)
    check_routing(model, ids)
    rows = [logits_of(model, part[None]) for part in batch.split(BATCH)]
    for part in batch.split(BATCH):
        check_routing(model, part[None])
    logits = logits_of(model, ids)
    steps, prefill = decoded(model, ids)
    if not family.stale_keys:
        torch.testing.assert_close(torch.cat([prefill, steps]), logits, rtol=0, atol=1e-5)
    return {
        "ids": ids,
        "logits": logits,
        "decode_logits": steps,
        "greedy": greedy(model, ids),
        "batch_ids": batch,
        "batch_lengths": torch.tensor(BATCH),
        "batch_logits": torch.cat(rows),
        "coefficients": coefficients,
        "loss": loss_of(model, ids, coefficients).reshape(1),
    }


def gradients(model, seed):
    """The slope of `loss_of` by every parameter, under the name the checkpoint has for it."""
    ids, _, coefficients = inputs(model.config.vocab_size, seed)
    model.zero_grad()
    loss_of(model, ids, coefficients).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def save(tensors, path):
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)


def check_v4(folder, logits, ids):
    """The config in the words of transformers 4 means the same."""
    with torch.no_grad():
        again = logits_of(weights.load(folder, AutoConfig.from_pretrained(f"{folder}/config.v4.json")), ids)
    assert torch.equal(again, logits), "config.v4.json means something else"
