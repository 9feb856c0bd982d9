"""What is run: the three model shapes, the command line that every program shares, and the lengths of ragged completions."""

import argparse
import os

SHAPES = {
    "A": dict(hidden_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, intermediate_size=688, vocab_size=512),
    "B": dict(hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4, intermediate_size=1376, vocab_size=4096),
    "C": dict(hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, intermediate_size=1536, vocab_size=49152),
}
PAD, BOS, EOS, FIRST_ORDINARY = 0, 1, 2, 5
SHORTEST = 4
WORD = (1 << 64) - 1


def hashed(seed, member, turn):
    """SplitMix64's output function over the member's and the turn's own place in the sequence, 64 bits."""
    x = (seed + 0x9E3779B97F4A7C15 * (1 + member + (turn << 32))) & WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def completion_length(seed, member, turn, longest):
    """Tokens that `member` (its place in the batch, from 0) says in `turn` (from 0): 4 to `longest`, the same in every repetition."""
    return SHORTEST + hashed(seed, member, turn) % (longest - SHORTEST + 1)


def lengths(args, turn=0):
    """The completion length of every sequence of the batch in `turn`."""
    if not args.ragged:
        return [args.completion] * args.sequences
    return [completion_length(args.seed, member, turn, args.completion) for member in range(args.sequences)]


def user_tokens(args):
    """Tokens of the user's message between two turns."""
    return args.prompt // 4


def turns_argument(parser):
    parser.add_argument("--turns", type=int, default=1, help="completions of a conversation")


def beta_argument(parser):
    parser.add_argument("--beta", type=float, default=0.0, help="weight of the KL term against a reference policy")


def arguments(about):
    """The parser of the options that all programs understand; a program adds its own."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--shape", default="A", choices=list(SHAPES))
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of the prompt")
    parser.add_argument("--completion", type=int, default=64, help="tokens of a completion, or of the longest when ragged")
    parser.add_argument("--group", type=int, default=1, help="sequences that share a prompt")
    parser.add_argument("--ragged", action="store_true", help="completions of 4 to the full length, drawn by the seed")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def models():
    """The folder of the made checkpoints."""
    return os.environ.get("PEER_MODELS") or os.path.join(root(), "models")


def root():
    """The folder that `setup.sh` filled."""
    here = os.path.dirname(os.path.abspath(__file__))
    return os.environ.get("PEERS") or os.path.normpath(os.path.join(here, "..", "..", "target", "peers"))
