#!/usr/bin/env bash
# Ours and the Python peers in one run, taking turns, on the same shapes. Prints a table and keeps every measurement.
#
#   benches/peers/setup.sh                      once
#   cargo build --release
#   benches/peers/run.sh                        everything but the largest shape
#   benches/peers/run.sh step-A rollout-C       some of it, or more
#   benches/peers/run.sh --quick                one short round, to see that it works
#
# Each peer runs as installed, and tuned: with a C library that keeps freed memory, and with the kernels of MKL that are the faster ones here.
#   STATESET   the command to measure               (target/release/stateset)
#   PEERS      the folder that setup.sh filled      (target/peers)
#   ROUNDS     rounds of every case                 (3)
#   REPEAT     repetitions within a round           (5)
#   THREADS    threads of everything                (all)
#   WAIT       seconds to wait for a quiet machine  (60)
#   LOCK       a file to lock for each measurement  (none)
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
export PEERS="${PEERS:-$here/../../target/peers}" PYTHONDONTWRITEBYTECODE=1
stateset="${STATESET:-$here/../../target/release/stateset}"
rounds="${ROUNDS:-3}" repeat="${REPEAT:-5}" threads="${THREADS:-$(nproc)}" wait="${WAIT:-60}"
python="$PEERS/venv/bin/python"

# A case: its name, the measurement and its options, which ours and theirs both understand, and the programs of the peers.
cases() {
    cat <<'CASES'
step-A|step --shape A|torch_step.py,torch_step.py --compile
step-A-group8|step --shape A --group 8|torch_step.py,torch_step.py --compile
step-A-ragged|step --shape A --group 8 --ragged|torch_step.py,torch_step.py --compile
step-A-beta|step --shape A --beta 0.04|torch_step.py,torch_step.py --compile
rollout-A|rollout --shape A|hf_generate.py,torch_sampler.py,cpp_decode.py
rollout-A-group8|rollout --shape A --group 8|hf_generate.py,torch_sampler.py,cpp_decode.py
rollout-A-ragged|rollout --shape A --group 8 --ragged|hf_generate.py,torch_sampler.py,cpp_decode.py
grpo-A|grpo --shape A --group 8|trl_step.py
grpo-A-beta|grpo --shape A --group 8 --beta 0.04|trl_step.py
grpo-A-turns|grpo --shape A --group 8 --ragged --turns 3|trl_step.py
logprob|logprob --rows 4096 --vocab 49152|logprob.py
step-B|step --shape B|torch_step.py,torch_step.py --compile
rollout-B|rollout --shape B|hf_generate.py,torch_sampler.py,cpp_decode.py
grpo-B|grpo --shape B --group 8|trl_step.py
step-C|step --shape C --sequences 16|torch_step.py
rollout-C|rollout --shape C|hf_generate.py,torch_sampler.py,cpp_decode.py
CASES
}

die() { echo "$*" >&2; exit 2; }

quick=
if [ "${1:-}" = --quick ]; then
    quick=yes rounds=1 repeat=2 wait=5
    shift
fi
[ -x "$stateset" ] || die "$stateset is not there: cargo build --release, or name it by STATESET"
[ -x "$python" ] || die "$python is not there: benches/peers/setup.sh"
if [ $# -gt 0 ]; then
    chosen=("$@")
elif [ -n "$quick" ]; then
    chosen=(step-A rollout-A grpo-A logprob)
else
    mapfile -t chosen < <(cases | cut -d'|' -f1 | grep -v -- '-C$')
fi
for name in "${chosen[@]}"; do
    cases | grep -q "^$name|" || die "no case $name; there are: $(cases | cut -d'|' -f1 | paste -sd' ')"
done

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
# Stays, so that a run that was cut short can be summed up by hand: summary.py and this file.
rows="$PEERS/rows.jsonl" failed=0
: >"$rows"

keep=(MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=200000000000 MALLOC_TOP_PAD_=268435456)
preload=(LD_PRELOAD="$PEERS/libmkl_on_amd.so")

# measure CASE SIDE SETTING ROUND PROGRAM COMMAND...: one row, with what the command's last line said.
measure() {
    local name=$1 side=$2 setting=$3 round=$4 program=$5 said
    shift 5
    "$python" "$here/timing.py" "$wait"
    printf '%s, round %s: %s, %s: ' "$name" "$round" "$program" "$setting" >&2
    if said="$(${LOCK:+flock "$LOCK"} timeout 900 "$@" 2>"$scratch/stderr" | tail -n 1)" && [ "${said:0:1}" = '{' ]; then
        printf '{"case": "%s", "side": "%s", "setting": "%s", "round": %d, "row": %s}\n' "$name" "$side" "$setting" "$round" "$said" >>"$rows"
        "$python" -c 'import json, sys; print(f"{json.loads(sys.argv[1])[sys.argv[2]]:.4f} s")' "$said" seconds_min >&2
    else
        echo "failed" >&2
        tail -n 5 "$scratch/stderr" >&2
        failed=1
    fi
}

# llama.cpp is there only if setup.sh was asked for it.
missing=
"$python" -c 'import llama_cpp' 2>/dev/null || missing=cpp_decode.py

# The turns of a case, one a line: setting, and the program with its own options.
turns() {
    local programs=$1 program
    echo "as installed|stateset"
    while read -r program; do
        [ "$program" != "$missing" ] || continue
        echo "as installed|$program"
        echo "tuned|$program"
    done < <(tr ',' '\n' <<<"$programs")
}

# How fast matrix products are, one thread, without and with MKL's other kernels: the faster way is the tuned one.
roof() {
    local setting=$1 count=$2
    shift 2
    measure roof peer "$setting" 0 "large product" env "$@" "$python" "$here/roof.py" --threads "$count"
}
roof "as installed" 1
roof "other kernels" 1 "${preload[@]}"
tuned=("${keep[@]}")
if "$python" "$here/summary.py" --other-kernels-are-faster "$rows"; then
    tuned+=("${preload[@]}")
fi
roof "as installed, all threads" "$threads"
roof "tuned, all threads" "$threads" "${tuned[@]}"

for round in $(seq "$rounds"); do
    for name in "${chosen[@]}"; do
        IFS='|' read -r _ bench programs < <(cases | grep "^$name|")
        read -ra options <<<"${bench#* } --threads $threads --repeat $repeat"
        mapfile -t order < <(turns "$programs")
        # Who begins moves on from round to round.
        for i in "${!order[@]}"; do
            IFS='|' read -r setting program <<<"${order[(i + round - 1) % ${#order[@]}]}"
            read -ra words <<<"$program"
            peer=("$python" "$here/${words[0]}" "${words[@]:1}" "${options[@]}")
            case "$setting $program" in
                *stateset) measure "$name" ours "$setting" "$round" "$program" "$stateset" bench "${bench%% *}" "${options[@]}" --json ;;
                tuned*) measure "$name" peer "$setting" "$round" "$program" env "${tuned[@]}" "${peer[@]}" ;;
                *) measure "$name" peer "$setting" "$round" "$program" "${peer[@]}" ;;
            esac
        done
    done
done

mkdir -p "$here/../results"
"$python" "$here/summary.py" --tuned "${tuned[*]##*/}" --keep "$here/../results" --ours "$("$stateset" --version)" "$rows"
exit "$failed"
