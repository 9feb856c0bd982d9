"""Tokenizers of each family's kind: byte-level BPE, and BPE over characters with bytes to fall back on, as SentencePiece makes them."""

import json
from dataclasses import dataclass, field

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import corpus

LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = LETTERS + r"|\p{N}{1,3}|" + REST
QWEN = LETTERS + r"|\p{N}|" + REST
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORD = "▁"


@dataclass(frozen=True)
class Kind:
    """`special` stand first in the vocabulary in the families of SentencePiece, and last in the others, as published."""

    special: list
    bos: str | None
    eos: str
    pad: str | None
    # A pattern of words, or how SentencePiece's spaces are put in: "prepend", "metaspace", "replace".
    split: str
    # Tokens that are added but not special, so that decoding keeps them.
    visible: list = field(default_factory=list)
    # All that a generation may end with, if more than `eos`.
    ends: list = field(default_factory=list)
    adds_bos: bool = False
    nfc: bool = False
    # Whether the chat template is a file of its own, as newer checkpoints have it, or a field of tokenizer_config.json.
    jinja_file: bool = False


CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOOL_CALL = ["<tool_call>", "</tool_call>"]
KINDS = {
    "llama": Kind(
        ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"],
        "<|begin_of_text|>", "<|eot_id|>", "<|finetune_right_pad_id|>", LLAMA3,
        ends=["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"], adds_bos=True,
    ),
    "smollm2": Kind(CHATML, "<|im_start|>", "<|im_end|>", "<|im_end|>", "digits"),
    "qwen2": Kind(CHATML, None, "<|im_end|>", "<|endoftext|>", QWEN, TOOL_CALL, ["<|im_end|>", "<|endoftext|>"], nfc=True),
    "qwen3": Kind(
        CHATML, None, "<|im_end|>", "<|endoftext|>", QWEN,
        TOOL_CALL + ["<tool_response>", "</tool_response>", "<think>", "</think>"], ["<|im_end|>", "<|endoftext|>"], nfc=True,
    ),
    "mistral": Kind(
        ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"],
        "<s>", "</s>", None, "metaspace", adds_bos=True,
    ),
    "gemma3": Kind(
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"], "<bos>", "<eos>", "<pad>", "replace",
        ["\n\n"], ["<eos>", "<end_of_turn>"], adds_bos=True, jinja_file=True,
    ),
    "gemma2": Kind(
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"], "<bos>", "<eos>", "<pad>", "replace", ["\n\n"], adds_bos=True,
    ),
    "phi3": Kind(
        ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"],
        "<s>", "<|endoftext|>", "<|endoftext|>", "prepend", ends=["<|endoftext|>", "<|assistant|>", "<|end|>"],
    ),
    "olmo2": Kind(["<|endoftext|>", "<|pad|>"], "<|endoftext|>", "<|endoftext|>", "<|pad|>", LLAMA3),
    "smollm3": Kind(
        ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"], None, "<|im_end|>", "<|im_end|>", LLAMA3,
        ["<think>", "</think>", "<tool_call>", "</tool_call>", "<code>", "</code>"], jinja_file=True,
    ),
    "gpt_oss": Kind(
        ["<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>", "<|call|>"],
        "<|startoftext|>", "<|return|>", "<|endoftext|>", O200K, ends=["<|return|>", "<|endoftext|>", "<|call|>"], jinja_file=True,
    ),
    "llama2": Kind(["<unk>", "<s>", "</s>"], "<s>", "</s>", None, "prepend", adds_bos=True),
    "command": Kind(
        ["<PAD>", "<UNK>", "<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"],
        "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<PAD>", "digits", adds_bos=True, nfc=True,
    ),
    "deepseek": Kind(
        ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"],
        "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>", LLAMA3,
        [f"<｜tool▁{part}｜>" for part in ("calls▁begin", "calls▁end", "call▁begin", "call▁end", "sep", "outputs▁begin", "outputs▁end", "output▁begin", "output▁end")]
        + ["<think>", "</think>"], adds_bos=True, jinja_file=True,
    ),
}
PIECES = ("prepend", "metaspace", "replace")


def made(name, chat_template=None):
    """The tokenizer of a kind, about 384 ids if of bytes and 448 if of characters."""
    kind = KINDS[name]
    tokenizer = of_characters(kind, 448) if kind.split in PIECES else of_bytes(kind, 384)
    if kind.adds_bos:
        bos = (kind.bos, tokenizer.token_to_id(kind.bos))
        template = processors.TemplateProcessing(single=f"{kind.bos} $A", pair=f"{kind.bos} $A {kind.bos} $B:1", special_tokens=[bos])
        level = [] if kind.split in PIECES else [processors.ByteLevel(trim_offsets=False)]
        tokenizer.post_processor = processors.Sequence([*level, template]) if level else template
    named = dict(bos_token=kind.bos, eos_token=kind.eos, pad_token=kind.pad, unk_token="<unk>" if "<unk>" in kind.special else None)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, model_max_length=512, padding_side="left",
        **{key: value for key, value in named.items() if value},
    )
    fast.chat_template = chat_template
    return fast


def of_bytes(kind, size):
    """Byte-level BPE: every byte is a token, so there is nothing unknown."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind.split == LLAMA3))
    if kind.nfc:
        tokenizer.normalizer = normalizers.NFC()
    if kind.split == "digits":
        first, level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        first = pre_tokenizers.Split(Regex(kind.split), behavior="isolated")
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([first, level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    room = size - len(kind.special) - len(kind.visible)
    trainer = trainers.BpeTrainer(vocab_size=room, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus.lines(), trainer)
    return with_added(tokenizer, kind)


def of_characters(kind, size):
    """BPE over characters as SentencePiece writes it: `▁` for a space, `<0xE2>` for a byte of what the vocabulary lacks."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement=WORD, prepend_scheme="always")
    room = size - len(kind.special) - len(kind.visible) - 256
    trained.train_from_iterator(corpus.lines(), trainers.BpeTrainer(vocab_size=room, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    learned = sorted(model["vocab"], key=model["vocab"].get)
    order = kind.special + kind.visible + [f"<0x{byte:02X}>" for byte in range(256)] + learned
    vocabulary = {token: id for id, token in enumerate(order)}
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spaces = decoders.Replace(WORD, " ")
    leading = [decoders.Strip(" ", 1, 0)]
    if kind.split == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(WORD), normalizers.Replace(" ", WORD)])
    elif kind.split == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=WORD, prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Replace(" ", WORD)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
        leading = []
    tokenizer.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse(), *leading])
    return with_added(tokenizer, kind)


def with_added(tokenizer, kind):
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in kind.special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in kind.visible])
    return tokenizer


TEXTS = [
    "Hello, I ordered a lamp last week.",
    " two  spaces, a tab\t, and\n\ntwo lines\n",
    "Où est ma commande n° 1042? C'était l'été, 59,90 €…",
    "e\u0301 and é; ﬁ; 退货 🙂👩\u200d👧",
    "DON'T wait: 1234567 items x 10%, isn't it? (yes) [INST] it's </s> <s>",
    "before<|im_end|>after <|eot_id|> <end_of_turn><think>so</think>",
    '{"name": "get_order", "arguments": {"order_id": "A-1042"}}',
    "",
]


def expected(tokenizer):
    """What the tokenizer makes of texts, and what it makes of the ids again."""
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False)
        cases.append({
            "text": text, "ids": ids, "ids_with_special": tokenizer.encode(text),
            "decoded": tokenizer.decode(ids), "decoded_without_special": tokenizer.decode(ids, skip_special_tokens=True),
        })
    return cases
