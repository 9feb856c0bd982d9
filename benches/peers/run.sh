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
rollout-A|rollout --shape A|hf_generate.py,torch_sampler.py
rollout-A-group8|rollout --shape A --group 8|hf_generate.py,torch_sampler.py
rollout-A-ragged|rollout --shape A --group 8 --ragged|hf_generate.py,torch_sampler.py
grpo-A|grpo --shape A --group 8|trl_step.py
grpo-A-beta|grpo --shape A --group 8 --beta 0.04|trl_step.py
grpo-A-turns|grpo --shape A --group 8 --ragged --turns 3|trl_step.py
logprob|logprob --rows 4096 --vocab 49152|logprob.py
step-B|step --shape B|torch_step.py,torch_step.py --compile
rollout-B|rollout --shape B|hf_generate.py,torch_sampler.py
grpo-B|grpo --shape B --group 8|trl_step.py
step-C|step --shape C --sequences 16|torch_step.py
rollout-C|rollout --shape C|hf_generate.py,torch_sampler.py
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
rows="$scratch/rows.jsonl" failed=0

keep=(MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=200000000000 MALLOC_TOP_PAD_=268435456)
preload=(LD_PRELOAD="$PEERS/libmkl_on_amd.so")

# measure CASE SIDE SETTING ROUND COMMAND...: one row, with what the command's last line said.
measure() {
    local name=$1 side=$2 setting=$3 round=$4 said
    shift 4
    "$python" "$here/timing.py" "$wait"
    printf '%s %s, round %s, %s: ' "$name" "$side" "$round" "$setting" >&2
    if said="$(${LOCK:+flock "$LOCK"} timeout 900 "$@" 2>"$scratch/stderr" | tail -n 1)" && [ "${said:0:1}" = '{' ]; then
        printf '{"case": "%s", "side": "%s", "setting": "%s", "round": %d, "row": %s}\n' "$name" "$side" "$setting" "$round" "$said" >>"$rows"
        sed -n 's/.*"seconds_min": *\([0-9.e-]*\).*/\1 s/p' <<<"$said" >&2
    else
        echo "failed" >&2
        tail -n 5 "$scratch/stderr" >&2
        failed=1
    fi
}

# The turns of a case, one a line: side, setting, program and options.
turns() {
    local bench=$1 programs=$2 program
    local options="${bench#* } --threads $threads --repeat $repeat"
    echo "ours|as installed|${bench%% *} $options"
    while read -r program; do
        echo "peer|as installed|$program $options"
        echo "peer|tuned|$program $options"
    done < <(tr ',' '\n' <<<"$programs")
}

# How fast matrix products are, one thread, without and with MKL's other kernels: the faster way is the tuned one.
roof() { measure roof peer "$1" 0 "${@:2}" "$python" "$here/roof.py" --threads 1; }
roof "as installed" env
roof "other kernels" env "${preload[@]}"
tuned=("${keep[@]}")
if "$python" "$here/summary.py" --other-kernels-are-faster "$rows"; then
    tuned+=("${preload[@]}")
fi
measure roof peer "as installed, all threads" 0 "$python" "$here/roof.py" --threads "$threads"
measure roof peer "tuned, all threads" 0 env "${tuned[@]}" "$python" "$here/roof.py" --threads "$threads"

for round in $(seq "$rounds"); do
    for name in "${chosen[@]}"; do
        IFS='|' read -r _ bench programs < <(cases | grep "^$name|")
        mapfile -t order < <(turns "$bench" "$programs")
        # Who begins moves on from round to round.
        for i in "${!order[@]}"; do
            IFS='|' read -r side setting command <<<"${order[(i + round - 1) % ${#order[@]}]}"
            read -ra words <<<"$command"
            case "$side $setting" in
                ours*) measure "$name" ours "$setting" "$round" "$stateset" bench "${words[@]}" --json ;;
                *tuned) measure "$name" peer tuned "$round" env "${tuned[@]}" "$python" "$here/${words[0]}" "${words[@]:1}" ;;
                *) measure "$name" peer "$setting" "$round" "$python" "$here/${words[0]}" "${words[@]:1}" ;;
            esac
        done
    done
done

mkdir -p "$here/../results"
"$python" "$here/summary.py" --tuned "${tuned[*]##*/}" --keep "$here/../results" --ours "$("$stateset" --version)" "$rows"
exit "$failed"
