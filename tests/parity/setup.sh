#!/usr/bin/env bash
# Installs what the fixtures are made with: a virtual environment, an older TRL and verl beside it. About 2 GB, two minutes.
#
#   tests/parity/setup.sh [folder, default target/parity]
#
# Needs Python 3.11 or later, gcc and readelf.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="${1:-$here/../../target/parity}"

mkdir -p "$root"
[ -x "$root/venv/bin/python" ] || python3 -m venv "$root/venv"
pip() { "$root/venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# --no-deps: requirements.txt is all there is to install, but for 2.5 GB of CUDA libraries that torch would draw in.
pip install --quiet --no-deps -r "$here/requirements.txt"
# The last release that has PPO and GSPO-token; and verl, of which only the mathematics is imported.
pip install --quiet --no-deps --upgrade --target "$root/trl-1.12" trl==1.12.0
pip install --quiet --no-deps --upgrade --target "$root/verl" verl==0.9.1

"$root/venv/bin/python" "$here/cuda_stand_ins.py"
"$root/venv/bin/python" -c 'import torch; print("torch", torch.__version__, "without a GPU:", not torch.cuda.is_available())'
