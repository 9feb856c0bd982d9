"""Tokenizers of each family's kind: byte-level BPE, and BPE over characters with bytes to fall back on, as SentencePiece makes them."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import corpus
from kinds import KINDS, LLAMA3, PIECES

WORD = "▁"


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
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
        padding_side="left",
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
        cases.append(
            {
                "text": text,
                "ids": ids,
                "ids_with_special": tokenizer.encode(text),
                "decoded": tokenizer.decode(ids),
                "decoded_without_special": tokenizer.decode(ids, skip_special_tokens=True),
            }
        )
    return cases
