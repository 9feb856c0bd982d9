"""Batched decoding by llama.cpp: prefill, then a token of every sequence that has not ended; the better of two caches of keys and values.

A shared prompt is prefilled once for its group. Tokens are drawn in PyTorch, from the logits where llama.cpp leaves them.
"""

import os

import llama_cpp as cpp
import numpy
import torch

from llama import prepare
from shapes import EOS, FIRST_ORDINARY, SHAPES, arguments, lengths, models
from timing import measure, report

# Flash attention is fast with a cache of f16, and slower than none with one of f32.
CACHES = {
    "f16": (cpp.GGML_TYPE_F16, cpp.LLAMA_FLASH_ATTN_TYPE_AUTO),
    "f32": (cpp.GGML_TYPE_F32, cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED),
}

args = arguments(__doc__).parse_args()
prepare(args)
vocab, spoken = SHAPES[args.shape]["vocab_size"], lengths(args)
reach = args.prompt + max(spoken)
prompts = torch.randint(FIRST_ORDINARY, vocab, (args.sequences // args.group, args.prompt)).tolist()
silent = cpp.llama_log_callback(lambda level, text, data: None)
cpp.llama_log_set(silent, None)


class Decoder:
    """A context with room for every sequence, and the batch that it is fed."""

    def __init__(self, cache):
        path = os.path.join(models(), f"{args.shape}.gguf")
        self.model = cpp.llama_model_load_from_file(path.encode(), cpp.llama_model_default_params())
        assert self.model, f"cannot load {path}"
        room = cpp.llama_context_default_params()
        room.n_ctx, room.n_seq_max, room.n_batch = args.sequences * reach, args.sequences, args.sequences * args.prompt
        room.n_outputs_max, room.kv_unified, room.no_perf = args.sequences, False, True
        room.n_threads = room.n_threads_batch = args.threads
        numbers, room.flash_attn_type = CACHES[cache]
        room.type_k = room.type_v = numbers
        self.context = cpp.llama_init_from_model(self.model, room)
        assert self.context, f"no room for {args.sequences} sequences of {reach} tokens"
        self.memory = cpp.llama_get_memory(self.context)
        self.batch = cpp.llama_batch_init(room.n_batch, 0, 1)

    def free(self):
        cpp.llama_batch_free(self.batch)
        cpp.llama_free(self.context)
        cpp.llama_model_free(self.model)

    def logits(self, rows):
        """Feeds `rows` of sequence, first position and tokens; logits `[rows, vocab]` after the last token of each."""
        at, batch = 0, self.batch
        for sequence, first, tokens in rows:
            for position, token in enumerate(tokens, first):
                batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.seq_id[at][0], batch.logits[at] = token, position, 1, sequence, 0
                at += 1
            batch.logits[at - 1] = 1
        batch.n_tokens = at
        assert cpp.llama_decode(self.context, batch) == 0
        return torch.from_numpy(numpy.ctypeslib.as_array(cpp.llama_get_logits(self.context), (len(rows), vocab)))

    def rollout(self):
        cpp.llama_memory_clear(self.memory, False)
        said = [[] for _ in spoken]
        logits = self.logits([(group * args.group, 0, prompt) for group, prompt in enumerate(prompts)]).repeat_interleave(args.group, 0)
        for member in range(args.sequences):
            if member % args.group:
                cpp.llama_memory_seq_cp(self.memory, member - member % args.group, member, -1, -1)
        live = list(range(args.sequences))
        while live:
            logits[:, EOS] = -float("inf")
            # The largest of logits plus Gumbel noise is a sample of their softmax.
            drawn = (logits - torch.empty_like(logits).exponential_().log_()).argmax(-1).tolist()
            for member, token in zip(live, drawn):
                said[member].append(token)
            live = [member for member in live if len(said[member]) < spoken[member]]
            if live:
                logits = self.logits([(member, args.prompt + len(said[member]) - 1, said[member][-1:]) for member in live])
        return said


watches = {}
for cache in CACHES:
    decoder = Decoder(cache)
    assert [len(tokens) for tokens in decoder.rollout()] == spoken
    watches[cache] = measure(decoder.rollout, args.repeat)
    decoder.free()
best = min(watches, key=lambda name: min(watches[name].laps))
ways = {name: min(watch.laps) for name, watch in watches.items()}
report(args, "rollout", "llama.cpp", watches[best], sum(spoken), cache=best, ways=ways, version=cpp.__version__)
