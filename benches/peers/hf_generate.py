"""`generate` of transformers: sampling at temperature 1, prefill included, no stop tokens. Ragged completions end by a processor of the logits."""

import os
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")
warnings.filterwarnings("ignore")
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from endings import EndAtLength
from llama import prepare
from shapes import BOS, EOS, FIRST_ORDINARY, PAD, arguments, lengths, models
from timing import measure, report

args = arguments(__doc__).parse_args()
prepare(args)
model = AutoModelForCausalLM.from_pretrained(os.path.join(models(), args.shape), dtype=torch.float32).eval()
spoken = lengths(args)
prompts = torch.randint(FIRST_ORDINARY, 260, (args.sequences // args.group, args.prompt)).repeat_interleave(args.group, 0)
config = GenerationConfig(
    max_new_tokens=args.completion, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS,
    **({} if args.ragged else {"min_new_tokens": args.completion}))


@torch.no_grad()
def rollout():
    endings = [EndAtLength(args.prompt, spoken)] if args.ragged else []
    return model.generate(prompts, attention_mask=torch.ones_like(prompts), generation_config=config, logits_processor=endings)


assert rollout().shape[1] == args.prompt + max(spoken)
report(args, "rollout", "transformers generate", measure(rollout, args.repeat), sum(spoken))
