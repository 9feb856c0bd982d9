"""The tokenizers of the families: their special tokens, their patterns of words, and where their chat templates are kept."""

from dataclasses import dataclass, field

LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = LETTERS + r"|\p{N}{1,3}|" + REST
QWEN = LETTERS + r"|\p{N}|" + REST
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


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
        [
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|finetune_right_pad_id|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eom_id|>",
            "<|eot_id|>",
            "<|python_tag|>",
        ],
        "<|begin_of_text|>",
        "<|eot_id|>",
        "<|finetune_right_pad_id|>",
        LLAMA3,
        ends=["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
        adds_bos=True,
    ),
    "smollm2": Kind(CHATML, "<|im_start|>", "<|im_end|>", "<|im_end|>", "digits"),
    "qwen2": Kind(CHATML, None, "<|im_end|>", "<|endoftext|>", QWEN, TOOL_CALL, ["<|im_end|>", "<|endoftext|>"], nfc=True),
    "qwen3": Kind(
        CHATML,
        None,
        "<|im_end|>",
        "<|endoftext|>",
        QWEN,
        TOOL_CALL + ["<tool_response>", "</tool_response>", "<think>", "</think>"],
        ["<|im_end|>", "<|endoftext|>"],
        nfc=True,
    ),
    "mistral": Kind(
        [
            "<unk>",
            "<s>",
            "</s>",
            "[INST]",
            "[/INST]",
            "[TOOL_CALLS]",
            "[AVAILABLE_TOOLS]",
            "[/AVAILABLE_TOOLS]",
            "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]",
        ],
        "<s>",
        "</s>",
        None,
        "metaspace",
        adds_bos=True,
    ),
    "gemma3": Kind(
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
        "<bos>",
        "<eos>",
        "<pad>",
        "replace",
        ["\n\n"],
        ["<eos>", "<end_of_turn>"],
        adds_bos=True,
        jinja_file=True,
    ),
    "gemma2": Kind(
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
        "<bos>",
        "<eos>",
        "<pad>",
        "replace",
        ["\n\n"],
        adds_bos=True,
    ),
    "phi3": Kind(
        ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"],
        "<s>",
        "<|endoftext|>",
        "<|endoftext|>",
        "prepend",
        ends=["<|endoftext|>", "<|assistant|>", "<|end|>"],
    ),
    "olmo2": Kind(["<|endoftext|>", "<|pad|>"], "<|endoftext|>", "<|endoftext|>", "<|pad|>", LLAMA3),
    "smollm3": Kind(
        ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"],
        None,
        "<|im_end|>",
        "<|im_end|>",
        LLAMA3,
        ["<think>", "</think>", "<tool_call>", "</tool_call>", "<code>", "</code>"],
        jinja_file=True,
    ),
    "gpt_oss": Kind(
        [
            "<|startoftext|>",
            "<|endoftext|>",
            "<|return|>",
            "<|constrain|>",
            "<|channel|>",
            "<|start|>",
            "<|end|>",
            "<|message|>",
            "<|call|>",
        ],
        "<|startoftext|>",
        "<|return|>",
        "<|endoftext|>",
        O200K,
        ends=["<|return|>", "<|endoftext|>", "<|call|>"],
        jinja_file=True,
    ),
    "llama2": Kind(["<unk>", "<s>", "</s>"], "<s>", "</s>", None, "prepend", adds_bos=True),
    "command": Kind(
        [
            "<PAD>",
            "<UNK>",
            "<BOS_TOKEN>",
            "<|START_OF_TURN_TOKEN|>",
            "<|END_OF_TURN_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
        ],
        "<BOS_TOKEN>",
        "<|END_OF_TURN_TOKEN|>",
        "<PAD>",
        "digits",
        adds_bos=True,
        nfc=True,
    ),
    "deepseek": Kind(
        ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"],
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        LLAMA3,
        [
            f"<｜tool▁{part}｜>"
            for part in (
                "calls▁begin",
                "calls▁end",
                "call▁begin",
                "call▁end",
                "sep",
                "outputs▁begin",
                "outputs▁end",
                "output▁begin",
                "output▁end",
            )
        ]
        + ["<think>", "</think>"],
        adds_bos=True,
        jinja_file=True,
    ),
}
PIECES = ("prepend", "metaspace", "replace")
