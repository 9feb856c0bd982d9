"""Writes the fixtures that the tests of `crates/algorithms` are held to.

    target/parity/venv/bin/python tests/parity/make_fixtures.py [folder of setup.sh, default target/parity]

Each module below runs in a process of its own, since two of them import an older TRL.
"""

import importlib
import json
import os
import subprocess
import sys
from importlib.metadata import version

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OUT = os.path.join(ROOT, "crates", "algorithms", "tests", "parity", "fixtures")
# Module, and the folder whose packages come before those of the environment.
MODULES = [
    ("trl_policy", ""),
    ("trl_credit", ""),
    ("trl_preference", ""),
    ("trl_ppo", "trl-1.12"),
    ("trl_gspo_token", "trl-1.12"),
    ("verl_losses", "verl"),
]


def write(module):
    """The fixtures of one module: names, and what is put into the file of that name."""
    made = importlib.import_module(module)
    library = getattr(made, "LIBRARY", None) or f"trl {version('trl')}"
    with_versions = {"library": library, "torch": version("torch")}
    for name, content in made.fixtures().items():
        path = os.path.join(OUT, f"{name}.json")
        with open(path, "w") as file:
            json.dump({**with_versions, **content}, file, allow_nan=False, separators=(",", ":"))
            file.write("\n")
        print(f"{name}: {len(content.get('cases', []))} cases, {os.path.getsize(path) // 1024} KiB, {library}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--module"]:
        write(sys.argv[2])
    else:
        installed = os.path.abspath(sys.argv[1]) if sys.argv[1:] else os.path.join(ROOT, "target", "parity")
        os.makedirs(OUT, exist_ok=True)
        for module, folder in MODULES:
            path = os.path.join(installed, folder) if folder else ""
            quiet = dict(TRL_EXPERIMENTAL_SILENCE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_OFFLINE="1", PYTHONDONTWRITEBYTECODE="1")
            env = {**os.environ, **quiet, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
            subprocess.run([sys.executable, os.path.abspath(__file__), "--module", module], env=env, check=True)
