"""Llama by hand, as short as PyTorch allows: Q, K and V in one product, gate and up in another, fused attention, tied embeddings.

The strongest plain PyTorch we know how to write for these shapes on a CPU; the training step and the sampler share it.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from shapes import SHAPES


def prepare(args):
    """Threads and seed. Without a CUDA device, a CUDA build of torch raises and catches an error in every forward when asked whether it is
    capturing a graph: answer in its place."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    if not torch.cuda.is_available():
        torch.cuda.is_current_stream_capturing = lambda: False


def rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv = c["num_attention_heads"], c["num_key_value_heads"]
        hidden, inner = c["hidden_size"], c["intermediate_size"]
        self.head_dim = hidden // self.heads
        self.attention_norm, self.mlp_norm = nn.RMSNorm(hidden, 1e-5), nn.RMSNorm(hidden, 1e-5)
        self.qkv = nn.Linear(hidden, (self.heads + 2 * self.kv) * self.head_dim, bias=False)
        self.out = nn.Linear(hidden, hidden, bias=False)
        self.gate_up = nn.Linear(hidden, 2 * inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)

    def forward(self, x, cos, sin, cache=None, at=0):
        batch, time, hidden = x.shape
        mixed = self.qkv(self.attention_norm(x)).view(batch, time, self.heads + 2 * self.kv, self.head_dim).transpose(1, 2)
        q, k, v = mixed.split((self.heads, self.kv, self.kv), 1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            cache[0][:, :, at : at + time], cache[1][:, :, at : at + time] = k, v
            k, v = cache[0][:, :, : at + time], cache[1][:, :, : at + time]
        if time == 1:
            # One query a head: the heads that share keys become its rows, and keys and values need no copies.
            y = F.scaled_dot_product_attention(q.reshape(batch, self.kv, -1, self.head_dim), k, v).reshape(batch, 1, hidden)
        else:
            k, v = (each.repeat_interleave(self.heads // self.kv, 1) for each in (k, v))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, time, hidden)
        x = x + self.out(y)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Llama(nn.Module):
    def __init__(self, shape):
        super().__init__()
        c = self.c = SHAPES[shape]
        self.embedding = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["num_hidden_layers"]))
        self.norm = nn.RMSNorm(c["hidden_size"], 1e-5)
        for weights in self.parameters():
            if weights.dim() > 1:
                nn.init.normal_(weights, std=0.02)
        head_dim = c["hidden_size"] // c["num_attention_heads"]
        angles = torch.outer(torch.arange(2048).float(), 10000 ** (-torch.arange(0, head_dim, 2).float() / head_dim))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids, caches=None, at=0):
        """Hidden states `[batch, time, hidden]` of `ids`, the first of which stands at position `at`."""
        x, reach = self.embedding(ids), slice(at, at + ids.shape[1])
        for i, block in enumerate(self.blocks):
            x = block(x, self.cos[reach], self.sin[reach], caches[i] if caches else None, at)
        return self.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.embedding.weight)
