#!/usr/bin/env bash
# The environment of the peers: PyTorch for the CPU, transformers and TRL at pinned versions, and models of the three shapes.
# Takes a minute and 2 GB. Needs python 3.11 or later, gcc, g++ (torch.compile) and readelf, and the package index.
#
#   benches/peers/setup.sh               into target/peers, or into the folder that PEERS names
#   benches/peers/setup.sh --llama-cpp   llama.cpp too, which is compiled for this machine: some ten minutes more
set -euo pipefail
case "$*" in
    "" | --llama-cpp) ;;
    *) echo "usage: setup.sh [--llama-cpp]" >&2; exit 2 ;;
esac
here="$(cd "$(dirname "$0")" && pwd)"
export PEERS="${PEERS:-$here/../../target/peers}"
mkdir -p "$PEERS"
PEERS="$(cd "$PEERS" && pwd)"

[ -x "$PEERS/venv/bin/python" ] || python3 -m venv "$PEERS/venv"
# requirements.txt is the whole closure but for the CUDA libraries that torch asks for.
"$PEERS/venv/bin/pip" install --quiet --no-deps --requirement "$here/requirements.txt"
"$PEERS/venv/bin/python" "$here/../../tests/parity/cuda_stand_ins.py"
gcc -shared -fPIC -O1 -o "$PEERS/libmkl_on_amd.so" "$here/mkl_on_amd.c"
"$PEERS/venv/bin/python" "$here/make_models.py"
if [ "$*" = --llama-cpp ]; then
    # None of its programs is needed, only the library.
    CMAKE_ARGS="-DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF" \
        "$PEERS/venv/bin/pip" install --quiet --no-deps --requirement "$here/requirements-llama-cpp.txt"
    "$PEERS/venv/bin/python" "$here/make_gguf.py"
fi
"$PEERS/venv/bin/python" -c 'import torch, transformers, trl
print("torch", torch.__version__, "transformers", transformers.__version__, "trl", trl.__version__, torch.backends.cpu.get_cpu_capability())'
