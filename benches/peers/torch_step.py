"""One GRPO training step in plain PyTorch: forward, loss over the completion, backward, clipping, fused AdamW.

Ragged completions are padded to the longest. A shared prompt is computed again for every member of its group.
"""

from functools import partial

import torch

from llama import Llama, prepare
from shapes import FIRST_ORDINARY, arguments, beta_argument, lengths
from timing import measure, report

parser = arguments(__doc__)
beta_argument(parser)
parser.add_argument("--compile", action="store_true", help="the loss through torch.compile")
args = parser.parse_args()
prepare(args)

model = Llama(args.shape)
spoken = torch.tensor(lengths(args))
longest = int(spoken.max())
prompts = torch.randint(FIRST_ORDINARY, model.c["vocab_size"], (args.sequences // args.group, args.prompt)).repeat_interleave(args.group, 0)
ids = torch.cat((prompts, torch.randint(FIRST_ORDINARY, model.c["vocab_size"], (args.sequences, longest))), 1)
mask = (torch.arange(longest) < spoken[:, None]).float()
advantages = torch.randn(args.sequences, 1)
reference = -torch.rand(args.sequences, longest) - 5
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0, fused=True)


def log_probs():
    logits = model.logits(model(ids)[:, args.prompt - 1 : -1])
    return logits.gather(-1, ids[:, args.prompt :, None])[..., 0] - torch.logsumexp(logits, -1)


def loss():
    new = log_probs()
    ratio = (new - new.detach()).exp()
    each = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    if args.beta:
        gap = reference - new
        each = each + args.beta * (gap.exp() - gap - 1)
    return (each * mask).sum() / mask.sum()


maybe_compiled = partial(torch.compile, dynamic=False) if args.compile else lambda function: function
forward, scored = maybe_compiled(loss), maybe_compiled(log_probs)


def step():
    global reference
    if args.beta:
        with torch.no_grad():
            # By the policy's own weights, which is as much work as by a frozen copy's.
            reference = scored()
    forward().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


watch = measure(step, args.repeat, warm=2)
report(args, "step", "torch compile" if args.compile else "torch eager", watch, args.sequences * args.prompt + int(spoken.sum()))
