"""Steps of TRL's GRPOTrainer on a GPU: generate, score, loss, backward, optimizer.

Models are random, of the shape and family named. Precisions: `bf16` is TRL's default, weights in f32 and autocast; `f32` lets products use TF32;
with `bf16-weights`, an option TRL leaves to its user, the weights and what AdamW keeps are bf16 too. Generation is transformers', with the
growing cache that is its default; or, with `--cache static`, a preallocated one and a compiled forward pass, which TRL switches off (not with
autocast, whose keys and values differ in type). The tokenizer is made here: a byte is a token, and words fill the rest of the model's
vocabulary. Gradient checkpointing, TRL's default, is off: it is slower where memory suffices. Where it does not, a batch is trained on in
halves, then in quarters.

Without `--shape`, every variant runs in a process of its own until `--budget` seconds are over, and each prints a row. With it, one runs.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
import warnings

PAD, BOS, EOS, GOOD_BELOW = 0, 1, 2, 101
SHAPES = {
    "SmolLM2-135M": ("llama", dict(
        hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, head_dim=64, intermediate_size=1536,
        vocab_size=49152, rope_theta=1e5, rms_norm_eps=1e-5)),
    "Qwen3-0.6B": ("qwen3", dict(
        hidden_size=1024, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128, intermediate_size=3072,
        vocab_size=151936, rope_theta=1e6, rms_norm_eps=1e-6)),
    "tiny": ("qwen3", dict(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=96,
        vocab_size=512, rope_theta=1e6, rms_norm_eps=1e-6)),
}
WEIGHTS = {"bf16": "float32", "f32": "float32", "bf16-weights": "bfloat16"}
# Shape, precision, completion, cache, sequences of a micro-batch: those that matter most first.
VARIANTS = [
    ("SmolLM2-135M", "bf16", 64, "dynamic", 64), ("Qwen3-0.6B", "bf16", 64, "dynamic", 64),
    ("SmolLM2-135M", "f32", 64, "dynamic", 64), ("Qwen3-0.6B", "f32", 64, "dynamic", 64),
    ("Qwen3-0.6B", "bf16", 256, "dynamic", 64), ("SmolLM2-135M", "bf16", 256, "dynamic", 64),
    ("SmolLM2-135M", "f32", 256, "dynamic", 64), ("Qwen3-0.6B", "f32", 256, "dynamic", 32),
    ("SmolLM2-135M", "bf16-weights", 64, "dynamic", 64), ("Qwen3-0.6B", "bf16-weights", 64, "dynamic", 64),
    ("SmolLM2-135M", "bf16-weights", 64, "static", 64), ("Qwen3-0.6B", "bf16-weights", 64, "static", 64),
    ("SmolLM2-135M", "f32", 64, "static", 64), ("Qwen3-0.6B", "f32", 64, "static", 64),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES))
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--precision", default="bf16", choices=list(WEIGHTS))
    parser.add_argument("--cache", default="dynamic", choices=["dynamic", "static"])
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--micro", type=int, help="sequences of a forward and backward pass; by default all")
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--completion", type=int, default=64)
    parser.add_argument("--warm", type=int, default=2, help="steps before those that count")
    parser.add_argument("--repeat", type=int, default=5, help="steps that count, at the most")
    parser.add_argument("--enough", type=float, default=20, help="seconds of measured steps after which two are enough")
    parser.add_argument("--budget", type=float, default=300, help="seconds for all variants together")
    parser.add_argument("--skip", type=int, default=0, help="variants that have been run already")
    parser.add_argument("--tiny", action="store_true", help="every variant with the tiny shape, to see that it works")
    parser.add_argument("--out", help="a file that every row is appended to")
    return parser.parse_args()


def variants(args):
    """A row of every variant, or what kept it from giving one."""
    until = time.monotonic() + args.budget
    for shape, precision, completion, cache, micro in VARIANTS[args.skip :]:
        row = {}
        while not row.get("seconds_min"):
            variant = dict(shape="tiny" if args.tiny else shape, precision=precision, completion=completion, cache=cache, micro=micro)
            options = variant | {name: getattr(args, name) for name in ("device", "warm", "repeat", "enough")}
            command = [sys.executable, os.path.abspath(__file__), *(f"--{name}={value}" for name, value in options.items())]
            row = variant | run(command, until - time.monotonic())
            told = json.dumps(row)
            print(told, flush=True)
            if args.out:
                with open(args.out, "a") as file:
                    print(told, file=file)
            if "out of memory" not in row.get("error", "") or micro <= 8:
                break
            micro //= 2


def run(command, seconds):
    if seconds < 10:
        return {"error": "no time left"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"error": f"stopped after {seconds:.0f} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    lines = done.stderr.strip().splitlines()
    memory = next((line for line in lines if "out of memory" in line), "")
    return {"error": (memory or " | ".join(lines[-4:]))[-600:] or f"exit status {done.returncode}"}


def tokenizer(vocab):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]
    tokens = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens += [f"word{number}" for number in range(vocab - len(tokens))]
    made = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    made.add_special_tokens(special)
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token=special[PAD], bos_token=special[BOS], eos_token=special[EOS], model_max_length=2048, padding_side="left")


def one(args):
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")
    if args.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    warnings.filterwarnings("ignore")
    import tempfile

    import torch
    import transformers
    import trl
    from datasets import Dataset
    from transformers import AutoConfig, AutoModelForCausalLM, CompileConfig, GenerationConfig, TrainerCallback

    on_gpu = args.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("no GPU")
    torch.backends.cuda.matmul.allow_tf32 = True
    if not torch.cuda.is_available():
        torch.cuda.is_current_stream_capturing = lambda: False

    def synchronize():
        if on_gpu:
            torch.cuda.synchronize()

    class Laps(TrainerCallback):
        """One lap for each step, from the end of one to the end of the next; and the share of it that generation took."""

        laps, generating, steps = [], [], 0

        def on_step_end(self, _, state, control, **__):
            synchronize()
            now = time.perf_counter()
            self.steps += 1
            if self.steps > args.warm:
                self.laps.append(now - self.since)
                print(f"  {self.laps[-1]:.3f} s, {self.generating[-1]:.3f} s of them generating", file=sys.stderr, flush=True)
            elif on_gpu:
                torch.cuda.reset_peak_memory_stats()
            if len(self.laps) >= 2 and sum(self.laps) > args.enough:
                control.should_training_stop = True
            self.since = time.perf_counter()

        def timed(self, generate):
            def inner(*given, **named):
                synchronize()
                begun = time.perf_counter()
                made = generate(*given, **named)
                synchronize()
                self.generating.append(time.perf_counter() - begun)
                return made

            return inner

    def reward(completion_ids, **_):
        assert all(len(ids) == args.completion for ids in completion_ids)
        return [sum(token < GOOD_BELOW for token in ids) / len(ids) for ids in completion_ids]

    kind, shape = SHAPES[args.shape]
    rotation = dict(rope_type="default", rope_theta=shape["rope_theta"])
    special = dict(pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS)
    config = AutoConfig.for_model(
        kind, **{name: value for name, value in shape.items() if name != "rope_theta"}, **special, rope_parameters=rotation,
        max_position_embeddings=2048, tie_word_embeddings=True, attention_dropout=0.0, dtype=WEIGHTS[args.precision])
    torch.manual_seed(0)
    with torch.device(args.device):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=getattr(torch, WEIGHTS[args.precision]))
    model.generation_config = GenerationConfig(**special)
    rng = random.Random(0)
    prompts = ["".join(rng.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(args.prompt)) for _ in range(args.sequences)]
    micro = args.micro or args.sequences
    laps = Laps()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = trl.GRPOTrainer(
            model=model, reward_funcs=reward, processing_class=tokenizer(shape["vocab_size"]), callbacks=[laps],
            train_dataset=Dataset.from_dict({"prompt": prompts}),
            args=trl.GRPOConfig(
                output_dir=scratch, use_cpu=not on_gpu, bf16=args.precision != "f32", fp16=False,
                per_device_train_batch_size=micro, gradient_accumulation_steps=args.sequences // micro, num_generations=args.group,
                max_completion_length=args.completion, beta=0.0, temperature=1.0, learning_rate=1e-4, lr_scheduler_type="constant",
                max_steps=args.warm + args.repeat, gradient_checkpointing=False, report_to="none", save_strategy="no", disable_tqdm=True,
                logging_steps=1000, seed=0, dataloader_pin_memory=on_gpu,
                cache_implementation=None if args.cache == "dynamic" else args.cache, generation_kwargs={"min_new_tokens": args.completion}))
        # TRL switches compilation off. Where there is no GPU, a static cache alone would not bring it about.
        trainer.generation_config.disable_compile = args.cache == "dynamic"
        if args.cache == "static" and not on_gpu:
            trainer.generation_config.compile_config = CompileConfig(mode="default")
            trainer.generation_config.compile_config._compile_all_devices = True
        trainer._generate_single_turn = laps.timed(trainer._generate_single_turn)
        trainer.train()
    generating = laps.generating[args.warm:]
    assert len(generating) == len(laps.laps), "one generation for each step"
    least = min(range(len(laps.laps)), key=laps.laps.__getitem__)
    tokens = args.sequences * (args.prompt + args.completion)
    print(json.dumps(dict(
        bench="grpo_gpu", peer="trl", shape=args.shape, precision=args.precision, cache=args.cache, sequences=args.sequences, micro=micro,
        group=args.group, prompt=args.prompt, completion=args.completion, parameters=sum(each.numel() for each in model.parameters()),
        seconds_min=laps.laps[least], seconds_median=statistics.median(laps.laps), seconds=laps.laps,
        generate_seconds_min=min(generating), generate_seconds_median=statistics.median(generating), generate_seconds=generating,
        train_seconds_median=statistics.median(lap - part for lap, part in zip(laps.laps, generating)),
        tokens_per_second=tokens / laps.laps[least], generated_per_second=args.sequences * args.completion / min(generating),
        peak_bytes=torch.cuda.max_memory_allocated() if on_gpu else None, device=torch.cuda.get_device_name() if on_gpu else "cpu",
        versions=dict(torch=torch.__version__, transformers=transformers.__version__, trl=trl.__version__))))


args = arguments()
one(args) if args.shape else variants(args)
