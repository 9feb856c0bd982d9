"""Log-probability of a chosen token and entropy of its distribution on a GPU, from logits `[rows, vocab]`, and their gradients.

Everything works on the same tensors, which no cache holds. The ways: plain operations, eager and through `torch.compile` in two formulations and
two modes; TRL's Triton kernel, which gives both results in one pass; and Liger's kernels, of which none gives an entropy. Liger's cross-entropy
writes the gradient over the logits in its forward pass, so it has no pass of its own forward, and gets fresh logits, untimed, before each
repetition. Passes:

- `forward`
- `forward_backward`: the gradient of `sum(weights * log_prob) + 0.01 * sum(entropy)` as well, in the logits' type
- `forward_backward_log_prob`: of the first sum alone, the entropy not computed where that can be chosen

Repetitions are queued without waiting in between, each between two events of the device. Results are held to float64 on a few rows. GB/s count
the bytes that cannot be avoided: the logits once forward; twice more backward, read and gradient written.
"""

import argparse
import gc
import json
import os
import statistics
import time

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
import torch
import torch.nn.functional as F

BLOCK, CHECKED, WARM, TOLERANCE = 1024, 8, 3, 2e-2
FORWARD, BOTH, BOTH_LOG_PROB = PASSES = "forward", "forward_backward", "forward_backward_log_prob"


def plain(logits, chosen, with_entropy):
    each = F.log_softmax(logits, -1, dtype=torch.float32)
    return each.gather(1, chosen[:, None])[:, 0], -(each.exp() * each).sum(-1) if with_entropy else None


def lean(logits, chosen, with_entropy):
    wide = logits.float()
    total = torch.logsumexp(wide, -1)
    entropy = total - (torch.exp(wide - total[:, None]) * wide).sum(-1) if with_entropy else None
    return wide.gather(1, chosen[:, None])[:, 0] - total, entropy


def blocks(logits, chosen, with_entropy):
    # `split`, as the backward of every slice would write a gradient of the full size.
    parts = [plain(*part, with_entropy) for part in zip(logits.split(BLOCK), chosen.split(BLOCK))]
    log_prob, entropy = zip(*parts)
    return torch.cat(log_prob), torch.cat(entropy) if with_entropy else None


def compiled(formula, mode):
    torch._dynamo.reset()
    return torch.compile(formula, fullgraph=True, dynamic=False, mode=mode)


def trl_kernel():
    from trl.kernels import selective_log_softmax_and_entropy

    return lambda logits, chosen, _: selective_log_softmax_and_entropy(logits, chosen)


def liger_log_prob():
    from liger_kernel.ops.grpo_loss import fused_selective_log_softmax

    return lambda logits, chosen, _: (fused_selective_log_softmax(logits[None], chosen[None], 1.0)[0], None)


def liger_grpo():
    """With an advantage of -1 and a ratio of 1 the gradient of the loss is that of the log-probability. Its value is not."""
    from liger_kernel.ops import GrpoLossFunction

    advantages = torch.full((1,), -1.0, device=args.device)

    def way(logits, chosen, _):
        loss, _, _ = GrpoLossFunction.apply(
            logits[None], None, None, chosen[None], advantages, None, 1.0, 0.0, 0.2, 0.2, False, "grpo", None, False)
        return loss[0], None

    return way


def liger_cross_entropy(reduction, sign):
    """Its backward does nothing more where the gradient of the loss is 1, hence the sign."""
    from liger_kernel.ops import LigerCrossEntropyFunction

    return lambda logits, chosen, _: (
        sign * LigerCrossEntropyFunction.apply(logits, chosen, None, -100, 0.0, 0.0, reduction, None, False)[0], None)


# What is special: `extra_row`, as Liger wants `[sequences, tokens + 1, vocab]` and skips the last row; `overwrites` the logits; gives a `loss` in
# place of the log-probability, or the `sum` of all losses, unweighted.
WAYS = {
    "TRL's kernel": (trl_kernel, {}),
    "Liger: selective log-softmax": (liger_log_prob, dict(note="no entropy, no gradient", passes=[FORWARD], special={"extra_row"})),
    "Liger: GRPO loss": (liger_grpo, dict(
        note="no entropy; gives the clipped loss", passes=[FORWARD, BOTH_LOG_PROB], special={"extra_row", "loss"})),
    "Liger: cross-entropy, sum": (lambda: liger_cross_entropy("sum", 1), dict(
        note="no entropy; no weights; gradient over the logits", passes=[BOTH_LOG_PROB], special={"overwrites", "sum"})),
    "Liger: cross-entropy, each": (lambda: liger_cross_entropy("none", -1), dict(
        note="no entropy; gradient over the logits, then weighted", passes=[BOTH_LOG_PROB], special={"overwrites"})),
    "compiled": (lambda: compiled(plain, "default"), {}),
    "compiled, logsumexp": (lambda: compiled(lean, "default"), {}),
    "compiled, tuned": (lambda: compiled(plain, "max-autotune-no-cudagraphs"), dict(passes=[FORWARD, BOTH])),
    "compiled, logsumexp, tuned": (lambda: compiled(lean, "max-autotune-no-cudagraphs"), dict(passes=[FORWARD, BOTH])),
    "eager": (lambda: plain, {}),
    "eager, blocks of rows": (lambda: blocks, {}),
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--device", default="cuda")
parser.add_argument("--case", action="append", help="rows,vocab,type; by default 8192,151936,bfloat16 and 4096,151936,float32")
parser.add_argument("--way", choices=list(WAYS), action="append", help="only these")
parser.add_argument("--repeat", type=int, default=30)
parser.add_argument("--copy", type=int, default=1 << 30, help="bytes of the copy that shows the roof")
parser.add_argument("--out", help="a file that holds the JSON as it stands after every row")
args = parser.parse_args()
on_gpu = args.device == "cuda"


class Mark:
    """A point in the device's queue, or in time where the device is the CPU."""

    def __init__(self):
        if on_gpu:
            self.event = torch.cuda.Event(enable_timing=True)
            self.event.record()
        else:
            self.at = time.perf_counter()

    def seconds_to(self, later):
        return self.event.elapsed_time(later.event) / 1e3 if on_gpu else later.at - self.at


def synchronize():
    if on_gpu:
        torch.cuda.synchronize()


def measure(work, before=lambda: None):
    for _ in range(WARM):
        before()
        work()
    synchronize()
    marks = []
    for _ in range(args.repeat):
        before()
        begun = Mark()
        work()
        marks.append((begun, Mark()))
    synchronize()
    return [begun.seconds_to(ended) for begun, ended in marks]


class Case:
    """Logits of one shape and type, and what is done to them."""

    def __init__(self, rows, vocab, dtype):
        torch.manual_seed(0)
        everything = torch.empty(rows + 1, vocab, dtype=dtype, device=args.device)
        for part in everything.split(BLOCK):
            part.copy_(torch.randn(part.shape, device=args.device) * 3)
        self.logits, self.extra_row = everything[:rows].requires_grad_(True), everything.detach().requires_grad_(True)
        self.chosen = torch.randint(0, vocab, (rows,), device=args.device)
        self.weights = torch.randn(rows, device=args.device)
        self.spare = None
        self.bytes = rows * vocab * everything.element_size()

    def leaf(self, special):
        if "extra_row" in special:
            return self.extra_row
        if "overwrites" not in special:
            return self.logits
        if self.spare is None:
            self.spare = torch.empty_like(self.logits)
        return self.spare.detach().copy_(self.logits.detach()).requires_grad_(True)

    def run(self, way, special, pass_, leaf):
        if pass_ == FORWARD:
            with torch.no_grad():
                return way(leaf, self.chosen, True)
        log_prob, entropy = way(leaf, self.chosen, pass_ == BOTH)
        loss = log_prob if "sum" in special else (log_prob * self.weights).sum()
        return torch.autograd.grad(loss + 0.01 * entropy.sum() if pass_ == BOTH else loss, leaf)[0]

    def errors(self, way, special, pass_):
        """Relative distance to float64 on the first rows, of whatever the pass computes."""
        exact = self.logits.detach()[:CHECKED].double().requires_grad_(True)
        log_prob, entropy = plain_float64(exact, self.chosen[:CHECKED])
        got = self.run(way, special, pass_, self.leaf(special))
        if pass_ == FORWARD:
            wanted = {} if "loss" in special else {"log_prob": (got[0], log_prob)}
            wanted |= {} if got[1] is None else {"entropy": (got[1], entropy)}
        else:
            by = -1.0 if "sum" in special else self.weights[:CHECKED].double()
            loss = (log_prob * by).sum() + (0.01 * entropy.sum() if pass_ == BOTH else 0)
            wanted = {"gradient": (got, torch.autograd.grad(loss, exact)[0])}
        return {name: ((got[:CHECKED].double() - want).norm() / want.norm()).item() for name, (got, want) in wanted.items()}

    def timings(self, way, special, pass_):
        leaf = [self.leaf(special)]
        refresh = (lambda: leaf.__setitem__(0, self.leaf(special))) if "overwrites" in special else lambda: None
        return measure(lambda: self.run(way, special, pass_, leaf[0]), refresh)


def plain_float64(logits, chosen):
    each = F.log_softmax(logits, -1)
    return each.gather(1, chosen[:, None])[:, 0], -(each.exp() * each).sum(-1)


def laps(times, traffic):
    return dict(seconds_min=min(times), seconds_median=statistics.median(times), gb_per_second=traffic / min(times) / 1e9)


result = dict(bench="logprob_gpu", device=torch.cuda.get_device_name() if on_gpu else "cpu", torch=torch.__version__, repeat=args.repeat, rows=[])


def keep(row):
    result["rows"].append(row)
    told = row.get("error", "").splitlines()[:1]
    if "seconds_min" in row:
        told = f"{row['seconds_min'] * 1e3:9.3f} ms {row['seconds_median'] * 1e3:9.3f} ms {row['gb_per_second']:7.0f} GB/s", *told
    print(f"{row['name']:28} {str(row['shape']):16} {row['dtype']:9} {row['pass']:26}", *told, flush=True)
    if args.out:
        with open(args.out, "w") as file:
            print(json.dumps(result), file=file)


def attempt(case, way, options, pass_):
    """What is to be said of one pass; a way that fails says why."""
    special = options.get("special", ())
    try:
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        errors = case.errors(way, special, pass_)
        row = dict(errors=errors) | laps(case.timings(way, special, pass_), case.bytes * (1 if pass_ == FORWARD else 3))
        if on_gpu:
            row["peak_bytes"] = torch.cuda.max_memory_allocated()
        wrong = not all(error < TOLERANCE for error in errors.values())
        return row | ({"error": f"WRONG: {errors}"} if wrong else {})
    except Exception as error:
        return {"error": f"{type(error).__name__}: {str(error).strip()[:400]}"}


source = torch.randint(0, 256, (args.copy,), dtype=torch.uint8, device=args.device)
target = torch.empty_like(source)
keep(dict(name="copy", shape=[args.copy], dtype="uint8") | {"pass": "copy"} | laps(measure(lambda: target.copy_(source)), 2 * args.copy))
del source, target

for text in args.case or ["8192,151936,bfloat16", "4096,151936,float32"]:
    rows, vocab, dtype = text.split(",")
    case = Case(int(rows), int(vocab), getattr(torch, dtype))
    for name in args.way or WAYS:
        make, options = WAYS[name]
        try:
            way, failed = make(), {}
        except Exception as error:
            way, failed = None, {"error": f"{type(error).__name__}: {str(error).strip()[:400]}"}
        for pass_ in options.get("passes", PASSES):
            row = dict(name=name, shape=[int(rows), int(vocab)], dtype=dtype, note=options.get("note", "")) | {"pass": pass_}
            keep(row | (failed or attempt(case, way, options, pass_)))
            gc.collect()
            if on_gpu:
                torch.cuda.empty_cache()
    del case
print(json.dumps(result))
