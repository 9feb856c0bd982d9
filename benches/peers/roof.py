"""How fast PyTorch's own matrix product is here: GFLOP/s of a large square one and of the shapes that training and decoding are made of."""

import torch

from llama import prepare
from shapes import arguments
from timing import measure, report

# rows, inner, columns
PRODUCTS = {"square": (2048, 2048, 2048), "train": (8192, 512, 2752), "decode": (64, 512, 2752)}
CALL_FLOPS = 1.8e10

args = arguments(__doc__).parse_args()
prepare(args)
speeds = {}
for name, (rows, inner, columns) in PRODUCTS.items():
    left, weights, out = torch.randn(rows, inner), torch.randn(columns, inner), torch.empty(rows, columns)
    calls = max(1, round(CALL_FLOPS / (2 * rows * inner * columns)))
    watch = measure(lambda: [torch.mm(left, weights.t(), out=out) for _ in range(calls)], args.repeat)
    speeds[name] = 2e-9 * rows * inner * columns * calls / min(watch.laps)
report(args, "roof", "torch mm", watch, 0, gflops=speeds, torch=torch.__version__, capability=torch.backends.cpu.get_cpu_capability())
