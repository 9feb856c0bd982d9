"""Writes small checkpoints of every family, and what the reference libraries answer with them.

    target/parity/venv/bin/python tests/parity/models/make_models.py [family or "templates" ...]

Without names, everything is made. Each family in a process of its own, so that none depends on what was drawn before it, and with a fixed
hash seed, since PEFT writes a set. What every file holds is in fixtures/README.md. FIXTURES names another folder to write into.
"""

import os
import shutil
import subprocess
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.environ.get("FIXTURES", os.path.join(HERE, "fixtures"))


def make(name):
    """One folder, written anew."""
    import torch
    from transformers import AutoTokenizer

    import adapters
    import cases
    import families
    import kinds
    import reference
    import templates
    import vocabularies
    import weights

    torch.set_num_threads(1)
    family, folder = families.FAMILIES[name], os.path.join(OUT, name)
    shutil.rmtree(folder, ignore_errors=True)
    seed = zlib.crc32(name.encode()) % 100000 + family.reseed
    tokenizer = vocabularies.made(family.tokenizer, templates.source(family.tokenizer))
    tokenizer.save_pretrained(folder, save_jinja_files=kinds.KINDS[family.tokenizer].jinja_file)
    texts = vocabularies.expected(AutoTokenizer.from_pretrained(folder))
    cases.write(os.path.join(folder, "expected.json"), "texts", texts)
    weights.save(family, tokenizer, seed, folder)

    model = weights.load(folder)
    tensors = reference.expected(family, model, seed)
    reference.save(tensors, os.path.join(folder, "expected.safetensors"))
    if family.gradients:
        reference.save(reference.gradients(model, seed), os.path.join(folder, "gradients.safetensors"))
    if family.v4:
        weights.save_v4_config(family, folder)
        reference.check_v4(folder, tensors["logits"], tensors["ids"])
    adapted = adapters.save(name, family, weights.load(folder), seed, os.path.join(folder, "adapter"))
    size = sum(os.path.getsize(os.path.join(at, file)) for at, _, files in os.walk(folder) for file in files)
    spread, moved = tensors["logits"].std().item(), (adapted - tensors["logits"]).std().item()
    print(f"{name}: {size // 1024} KiB, logits vary by {spread:.2f}, the adapter moves them by {moved:.2f}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, HERE)
    if sys.argv[1:2] == ["--one"]:
        if sys.argv[2] == "templates":
            import templates

            templates.save(OUT)
        else:
            make(sys.argv[2])
    else:
        import families

        quiet = dict(
            TRANSFORMERS_VERBOSITY="error",
            HF_HUB_OFFLINE="1",
            HF_HUB_DISABLE_PROGRESS_BARS="1",
            PYTHONDONTWRITEBYTECODE="1",
            PYTHONHASHSEED="0",
            PYTHONWARNINGS="ignore",
        )
        for name in sys.argv[1:] or [*families.FAMILIES, "templates"]:
            subprocess.run([sys.executable, os.path.abspath(__file__), "--one", name], env={**os.environ, **quiet}, check=True)
