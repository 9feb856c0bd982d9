"""One GRPO training step with a LoRA adapter by PEFT on every projection of transformers' Llama: the weights are frozen."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from llama import prepare
from shapes import FIRST_ORDINARY, SHAPES, arguments
from timing import measure, report

parser = arguments(__doc__)
parser.add_argument("--lora", type=int, default=16, help="rank of the adapter")
args = parser.parse_args()
prepare(args)

base = LlamaForCausalLM(LlamaConfig(**SHAPES[args.shape], tie_word_embeddings=True, max_position_embeddings=2048, rms_norm_eps=1e-5))
adapter = LoraConfig(r=args.lora, lora_alpha=2 * args.lora, target_modules="all-linear", task_type="CAUSAL_LM")
model = get_peft_model(base, adapter)
prompts = torch.randint(FIRST_ORDINARY, base.config.vocab_size, (args.sequences // args.group, args.prompt)).repeat_interleave(args.group, 0)
ids = torch.cat((prompts, torch.randint(FIRST_ORDINARY, base.config.vocab_size, (args.sequences, args.completion))), 1)
advantages = torch.randn(args.sequences, 1)
learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(learnt, lr=1e-6, weight_decay=0.0, fused=True)


def step():
    logits = model(ids, use_cache=False, logits_to_keep=args.completion + 1).logits[:, :-1]
    new = logits.gather(-1, ids[:, args.prompt :, None])[..., 0] - torch.logsumexp(logits, -1)
    ratio = (new - new.detach()).exp()
    (-torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)).mean().backward()
    torch.nn.utils.clip_grad_norm_(learnt, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


watch = measure(step, args.repeat, warm=1)
report(args, "step", "peft", watch, args.sequences * (args.prompt + args.completion), lora=args.lora)
