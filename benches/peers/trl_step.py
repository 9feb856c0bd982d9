"""One whole step of TRL's GRPOTrainer: generate, score, loss, backward, optimizer.

With `--turns`, conversations the way TRL's users write them, as a `rollout_func`: every turn generates for the whole left-padded batch with
the conversation so far as its prompt, prefilled anew, until the longest row has ended; the loss sees the padded batch, masked to what was
sampled. Gradient checkpointing, TRL's default, is off: it is slower where memory suffices.
"""

import os
import random
import warnings

os.environ.update(
    HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false", ACCELERATE_USE_CPU="true", TRL_EXPERIMENTAL_SILENCE="1")
warnings.filterwarnings("ignore")
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.utils import pad

from endings import EndAtLength
from llama import prepare
from shapes import FIRST_ORDINARY, PAD, arguments, beta_argument, lengths, models, root, turns_argument, user_tokens
from timing import Stopwatch, report, wait_until_quiet

WARM = 2
GOOD_BELOW = 101

parser = arguments(__doc__)
beta_argument(parser)
turns_argument(parser)
parser.set_defaults(group=8)
args = parser.parse_args()
prepare(args)
path = os.path.join(models(), args.shape)
tokenizer = AutoTokenizer.from_pretrained(path)
spoken = [lengths(args, turn) for turn in range(args.turns)]
conversations = args.ragged or args.turns > 1


def prompts(count):
    """Texts that the tokenizer makes exactly `args.prompt` tokens of."""
    rng, found = random.Random(args.seed), []
    while len(found) < count:
        text = "".join(rng.choice("abcdefghij klmnop qrstuv wxyz ") for _ in range(8 * args.prompt))
        counts = (len(tokenizer(text[:end])["input_ids"]) for end in range(args.prompt, len(text)))
        fitting = next((args.prompt + i for i, tokens in enumerate(counts) if tokens >= args.prompt), None)
        if fitting and len(tokenizer(text[:fitting])["input_ids"]) == args.prompt:
            found.append(text[:fitting])
    return found


def reward(completion_ids, **_):
    return [sum(token < GOOD_BELOW for token in ids) / len(ids) for ids in completion_ids]


def say(trainer, talks, lengths):
    """What every conversation says next: `lengths[row]` tokens each, sampled together."""
    ids = pad([torch.tensor(talk) for talk in talks], padding_value=PAD, padding_side="left")
    seen = pad([torch.ones(len(talk), dtype=torch.long) for talk in talks], padding_value=0, padding_side="left")
    with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model, torch.no_grad():
        out = model.generate(
            input_ids=ids, attention_mask=seen, generation_config=trainer.generation_config,
            logits_processor=[EndAtLength(ids.shape[1], lengths)])
    return [row[:length].tolist() for row, length in zip(out[:, ids.shape[1] :], lengths, strict=True)]


def converse(texts, trainer):
    """All turns of all conversations; the user's words in between are not trained on."""
    opening = tokenizer(text=texts)["input_ids"]
    talks, sampled = [list(ids) for ids in opening], [[] for _ in texts]
    rng = random.Random(args.seed)
    for turn, turn_lengths in enumerate(spoken):
        for talk, marks, words in zip(talks, sampled, say(trainer, talks, turn_lengths), strict=True):
            user = [rng.randrange(FIRST_ORDINARY, 260) for _ in range(user_tokens(args) if turn + 1 < args.turns else 0)]
            talk += words + user
            marks += [1] * len(words) + [0] * len(user)
    return dict(prompt_ids=opening, completion_ids=[talk[args.prompt :] for talk in talks], logprobs=None, env_mask=sampled)


class Laps(TrainerCallback):
    """One lap of the stopwatch for each step; the waiting for a quiet machine lies between the laps."""

    watch, steps = Stopwatch(), 0

    def on_step_end(self, *_, **__):
        if self.steps >= WARM:
            self.watch.stop()
        self.steps += 1
        wait_until_quiet(3)
        if self.steps >= WARM:
            self.watch.start()


config = GRPOConfig(
    output_dir=os.path.join(root(), "out"), use_cpu=True, bf16=False, fp16=False, per_device_train_batch_size=args.sequences,
    num_generations=args.group, max_completion_length=args.completion, beta=args.beta, temperature=1.0, learning_rate=1e-4,
    lr_scheduler_type="constant", max_steps=WARM + args.repeat, gradient_checkpointing=False, report_to="none", save_strategy="no",
    disable_tqdm=True, logging_steps=1000, dataloader_pin_memory=False, seed=args.seed,
    generation_kwargs=None if conversations else {"min_new_tokens": args.completion})
laps = Laps()
trainer = GRPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), reward_funcs=reward, args=config, processing_class=tokenizer,
    train_dataset=Dataset.from_dict({"prompt": prompts(args.sequences)}), callbacks=[laps], rollout_func=converse if conversations else None)
trainer.train()
tokens = args.sequences * (args.prompt + (args.turns - 1) * user_tokens(args)) + sum(map(sum, spoken))
report(args, "grpo", "trl", laps.watch, tokens)
