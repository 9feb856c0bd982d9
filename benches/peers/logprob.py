"""Log-probability of a chosen token and entropy of its distribution, from logits `[rows, vocab]` f32, and their gradients.

The ways people write it: in plain operations, in blocks of rows that fit the cache, by TRL's own functions, and compiled. Beside them, from
the same run, how fast the machine reads and copies the same logits. GB/s count the traffic that cannot be avoided: the logits once forward;
twice more backward, read and gradient written.
"""

import os
import statistics

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
import torch
import torch.nn.functional as F

from llama import prepare
from shapes import arguments
from timing import measure, report

BLOCK = 64


def plain(logits, chosen):
    each = F.log_softmax(logits, -1)
    return each.gather(1, chosen[:, None])[:, 0], -(each.exp() * each).sum(-1)


def lean(logits, chosen):
    total = torch.logsumexp(logits, -1)
    return logits.gather(1, chosen[:, None])[:, 0] - total, total - (torch.softmax(logits, -1) * logits).sum(-1)


def blocks(logits, chosen):
    # `split`, as the backward of every slice would write a gradient of the full size.
    parts = [lean(*part) for part in zip(logits.split(BLOCK), chosen.split(BLOCK))]
    return tuple(torch.cat(each) for each in zip(*parts))


def trl(logits, chosen):
    from trl.trainer.utils import entropy_from_logits, selective_log_softmax

    return selective_log_softmax(logits, chosen), entropy_from_logits(logits)


WAYS = {
    "eager": lambda: plain, "eager, blocks of rows": lambda: blocks, "TRL's functions": lambda: trl,
    "compiled": lambda: torch.compile(plain, dynamic=False), "compiled, logsumexp": lambda: torch.compile(lean, dynamic=False),
}

parser = arguments(__doc__)
parser.add_argument("--rows", type=int, default=4096)
parser.add_argument("--vocab", type=int, default=49152)
parser.add_argument("--way", choices=list(WAYS), action="append", help="only these")
args = parser.parse_args()
prepare(args)
logits = torch.randn(args.rows, args.vocab)
chosen = torch.randint(0, args.vocab, (args.rows,))
weights = torch.randn(args.rows)
gigabytes = logits.numel() * 4 / 1e9
spare = torch.empty_like(logits)
copy = measure(lambda: spare.copy_(logits), args.repeat)
read = measure(lambda: logits.sum(), args.repeat)
del spare
expected = [each.float() for each in plain(logits[:BLOCK].double(), chosen[:BLOCK])]


def gradient(way, of_entropy):
    logits.grad = None
    log_prob, entropy = way(logits, chosen)
    loss = (log_prob * weights).sum()
    (loss + 0.01 * entropy.sum() if of_entropy else loss).backward()


def timings(way):
    """Least and median seconds of the forward pass alone, of both passes, and of both with the gradient of the log-probability only."""
    with torch.no_grad():
        for got, want in zip(way(logits, chosen), expected):
            torch.testing.assert_close(got[:BLOCK], want, atol=1e-4, rtol=1e-4)
        watches = {"forward": measure(lambda: way(logits, chosen), args.repeat)}
    logits.requires_grad_(True)
    watches["forward_backward"] = measure(lambda: gradient(way, True), args.repeat)
    watches["forward_backward_log_prob"] = measure(lambda: gradient(way, False), args.repeat)
    logits.grad = None
    logits.requires_grad_(False)
    return watches


def figures(name, watches):
    for pass_, watch in watches.items():
        traffic = gigabytes * (1 if pass_ == "forward" else 3)
        print(f"{name:24} {pass_:28} {min(watch.laps) * 1e3:8.1f} ms  {traffic / min(watch.laps):6.1f} GB/s", flush=True)
    return {f"{pass_}_seconds_{what}": of(watch.laps) for pass_, watch in watches.items() for what, of in (("min", min), ("median", statistics.median))}


all_watches = {name: timings(WAYS[name]()) for name in args.way or WAYS}
ways = {name: figures(name, watches) for name, watches in all_watches.items()}
best = min(ways, key=lambda name: ways[name]["forward_backward_seconds_min"])
least = {key: min(figure[key] for figure in ways.values()) for key in ways[best]}
report(
    args, "logprob", "torch", all_watches[best]["forward_backward"], args.rows, best=best, rows=args.rows, vocab=args.vocab, **least, ways=ways,
    read_gb_per_second=gigabytes / min(read.laps), copy_gb_per_second=2 * gigabytes / min(copy.laps))
