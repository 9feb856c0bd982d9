"""Sampling in plain PyTorch with a preallocated cache: prefill, then one token at a time; the better of two ways to draw a token.

A shared prompt is prefilled once for its group. With ragged completions every row goes on until the longest has ended.
"""

import torch

from llama import Llama, prepare
from shapes import EOS, FIRST_ORDINARY, arguments, lengths
from timing import measure, report

args = arguments(__doc__).parse_args()
prepare(args)
model, spoken = Llama(args.shape), lengths(args)
longest, reach = max(spoken), args.prompt + max(spoken)
prompts = torch.randint(FIRST_ORDINARY, model.c["vocab_size"], (args.sequences // args.group, args.prompt))


def cache(rows):
    kv, head_dim = model.c["num_key_value_heads"], model.c["hidden_size"] // model.c["num_attention_heads"]
    return [tuple(torch.empty(rows, kv, reach, head_dim) for _ in "kv") for _ in model.blocks]


def multinomial(logits):
    return torch.multinomial(logits.softmax(-1), 1)


def gumbel(logits):
    # The largest of logits plus Gumbel noise is a sample of their softmax: no normalisation and no cumulative sum.
    return (logits - torch.empty_like(logits).exponential_().log_()).argmax(-1, keepdim=True)


@torch.inference_mode()
def rollout(draw):
    caches = cache(len(prompts))
    hidden = model(prompts, caches)[:, -1]
    if args.group > 1:
        hidden = hidden.repeat_interleave(args.group, 0)
        caches = [tuple(each.repeat_interleave(args.group, 0) for each in layer) for layer in caches]
    said = []
    for at in range(args.prompt, reach):
        logits = model.logits(hidden)
        logits[:, EOS] = -float("inf")
        said.append(draw(logits))
        if at + 1 < reach:
            hidden = model(said[-1], caches, at)[:, -1]
    return torch.cat(said, 1)


watches = {draw.__name__: measure(lambda: rollout(draw), args.repeat, warm=2) for draw in (multinomial, gumbel)}
best = min(watches, key=lambda name: min(watches[name].laps))
report(args, "rollout", "torch sampler", watches[best], sum(spoken), draw=best)
