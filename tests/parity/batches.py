"""The tensors that every library is fed with, padded to `[sequences, tokens]`, in float64."""

import torch

# Also what the libraries make tensors of numbers in: SAPO's temperatures would be float32 otherwise.
torch.set_default_dtype(torch.float64)
SEED = 20240229
ARRAYS = ("new", "old", "reference", "sampler", "entropy", "advantages")


class Batch:
    """Aligned arrays of one entry per token. `completion` is 1 up to the end of a sequence, `mask` on those tokens that were sampled."""

    def __init__(self, rng, lengths, drift=0.3, unsampled=0.0, grid=None):
        shape = (len(lengths), max(lengths))
        noise = lambda scale: scale * torch.randn(shape, generator=rng, dtype=torch.float64)
        self.completion = (torch.arange(shape[1]) < torch.tensor(lengths).unsqueeze(1)).long()
        gaps = torch.rand(shape, generator=rng, dtype=torch.float64) < unsampled
        self.mask = self.completion * (~gaps).long()
        self.new = -3.0 * torch.rand(shape, generator=rng, dtype=torch.float64) - 0.05
        shift = noise(drift)
        if grid is not None:
            # As far apart as it gets below the 20 nats beyond which log-ratios are cut off here.
            picks = torch.randint(len(grid), shape, generator=rng)
            shift = torch.tensor(grid, dtype=torch.float64)[picks]
        self.old = self.new - shift
        self.reference = self.new + noise(0.5)
        self.sampler = self.old + noise(0.4)
        self.entropy = 2.0 * torch.rand(shape, generator=rng, dtype=torch.float64)
        self.advantages = noise(1.0)[:, :1].expand(shape).clone()

    def json(self):
        """Sequence by sequence, without the padding."""
        rows = []
        for i, length in enumerate(self.completion.sum(1).tolist()):
            row = {name: getattr(self, name)[i, :length].tolist() for name in ARRAYS}
            rows.append({**row, "mask": [bool(it) for it in self.mask[i, :length]]})
        return rows

    def unpad(self, tensor):
        return [tensor[i, :length].tolist() for i, length in enumerate(self.completion.sum(1).tolist())]

    def rows(self, part):
        """The sequences of a slice, as a batch."""
        it = object.__new__(Batch)
        it.__dict__.update({name: value[part] for name, value in self.__dict__.items()})
        return it


def batches():
    """By name: what is usual, and what goes wrong if anything does."""
    rng = torch.Generator().manual_seed(SEED)
    extreme = [-19.0, -8.0, -1.0, -0.25, 0.0, 0.25, 1.0, 8.0, 19.0]
    found = {
        "ordinary": Batch(rng, [8, 8, 8, 8, 8, 8]),
        "first_epoch": Batch(rng, [5, 8, 3, 6], drift=0.0),
        "others_speak": Batch(rng, [10, 7, 9, 8, 10, 6], unsampled=0.35),
        "unequal": Batch(rng, [1, 2, 24, 5, 13, 1]),
        "far_apart": Batch(rng, [9, 9, 7, 6], grid=extreme),
        "one_is_empty": Batch(rng, [6, 4, 7, 5]),
        "single_tokens": Batch(rng, [1, 1, 1, 1, 1, 1], drift=0.5),
        "credit_by_token": Batch(rng, [7, 5, 9, 6], unsampled=0.2),
    }
    found["one_is_empty"].mask[2] = 0
    found["far_apart"].advantages[1] = 0.0
    tokens = found["credit_by_token"]
    tokens.advantages = torch.randn(tokens.new.shape, generator=rng, dtype=torch.float64)
    # A mean log-ratio right at the edges: one sequence above the range, one below, whatever chance says.
    found["ordinary"].old[0] -= 0.4
    found["ordinary"].old[1] += 0.4
    return found
