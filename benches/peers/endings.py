"""Completions of given lengths: each row's end token is forced where the row is to end, and impossible before."""

import torch
from transformers import LogitsProcessor

from shapes import EOS


class EndAtLength(LogitsProcessor):
    """`lengths[row]` sampled tokens, the end token among them, after a (padded) prompt of `prompt` tokens."""

    def __init__(self, prompt, lengths):
        self.prompt, self.last = prompt, torch.tensor(lengths) - 1

    def __call__(self, ids, scores):
        ends = self.last == ids.shape[1] - self.prompt
        scores[:, EOS] = -float("inf")
        scores[ends] = -float("inf")
        scores[ends, EOS] = 0.0
        return scores
