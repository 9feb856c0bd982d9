"""Checkpoints of the shapes with random weights, as transformers writes them, and a byte-level tokenizer. Nothing is fetched."""

import os
import random
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from tokenizers import Tokenizer, decoders, models as kinds, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from shapes import BOS, EOS, PAD, SHAPES, models

SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]


def sentences(seed=0, lines=20000):
    """Made-up sentences whose words are distributed as Zipf found, so that byte pairs are worth merging."""
    rng = random.Random(seed)
    syllables = [onset + vowel + coda for onset in "bcdfghklmnprstvwz" for vowel in "aeiou" for coda in ("", "n", "r", "s", "l")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(6000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    for _ in range(lines):
        yield " ".join(rng.choices(words, weights, k=rng.randint(6, 24))).capitalize() + "."


def tokenizer(vocab):
    bytes_first = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made = Tokenizer(kinds.BPE())
    made.pre_tokenizer, made.decoder = bytes_first, decoders.ByteLevel()
    made.train_from_iterator(sentences(), trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=SPECIAL, initial_alphabet=bytes_first.alphabet(), show_progress=False))
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=SPECIAL[PAD], bos_token=SPECIAL[BOS], eos_token=SPECIAL[EOS], model_max_length=2048, padding_side="left")


for name in sys.argv[1:] or SHAPES:
    torch.manual_seed(1234)
    special = dict(pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS)
    model = LlamaForCausalLM(LlamaConfig(
        **SHAPES[name], **special, max_position_embeddings=2048, tie_word_embeddings=True, rms_norm_eps=1e-5, dtype="float32")).float()
    model.generation_config = GenerationConfig(**special)
    folder = os.path.join(models(), name)
    model.save_pretrained(folder)
    tokenizer(min(SHAPES[name]["vocab_size"], 4096)).save_pretrained(folder)
    print(f"{name}: {sum(weights.numel() for weights in model.parameters()) / 1e6:.1f} M parameters in {folder}")
