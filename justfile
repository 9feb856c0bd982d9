# Lists the recipes.
default:
    @just --list

# Formatting, lints, tests and documentation: what a change must pass, without the tools that have to be installed first.
check: lint test doc

# Formats everything.
fmt:
    cargo fmt --all

# Formatting and lints, of what runs on GPUs too.
lint:
    .ci/run lint

# All tests, or those whose names hold `NAME`.
test NAME='':
    cargo test --workspace {{ NAME }}

# The documentation, broken links refused.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# The tour, one idea a program.
examples:
    .ci/run examples

# Two small steps of training.
smoke:
    cargo run --release -- train config/smoke.yaml

# The quick start.
train CONFIG='config/quickstart.yaml':
    cargo run --release -- train {{ CONFIG }}

# A hundred runs, each killed at a random moment and resumed: minutes.
kills:
    cargo test --workspace --test system a_hundred_kills -- --ignored --nocapture --test-threads 1

# What the actor layer costs beside its rivals, whole runs at scale, and eight hours in five minutes.
bench:
    cargo bench -p stateset-benches

# The kernels for GPUs, proven without one.
gpu-proof:
    .ci/run gpu-proof

# The same tests on the GPU of this machine, which has to have one; then under compute-sanitizer, if it is installed.
gpu-check:
    REQUIRE_GPU=1 REQUIRE_NVRTC=1 cargo test -p stateset-kernels --features cuda,shim --test nvrtc --test cuda_matches_reference
    REQUIRE_GPU=1 cargo test -p stateset-models --features cuda,shim --test models gpu
    if command -v compute-sanitizer >/dev/null; then \
        built=$(cargo test -p stateset-kernels --features cuda,shim --test cuda_matches_reference --no-run 2>&1 | sed -n 's/.*(\(.*\))$/\1/p'); \
        for tool in memcheck racecheck synccheck; do REQUIRE_GPU=1 compute-sanitizer --tool $tool --error-exitcode 1 $built || exit 1; done; \
    fi

# What the kernels take on the GPU of this machine, against a plain copy.
gpu-bench:
    cargo bench -p stateset-kernels --features cuda --bench gpu

# Everything that is checked on every change.
ci:
    .ci/run

# Training that is made to fail, with health rules and without, and ten runs that are not: minutes.
health:
    cargo test --workspace --test system health -- --include-ignored --nocapture --test-threads 1

# Every recipe with three seeds, and the table and the curves of them all: an hour.
recipes SEEDS='0 1 2':
    cargo build --release
    for recipe in config/recipes/*.yaml; do for seed in {{ SEEDS }}; do \
        target/release/stateset train $recipe --set run.seed=$seed --output-dir runs/recipes/$seed || exit 1; \
    done; done
    target/release/stateset compare runs/recipes/*/* --output-file runs/recipes/comparison.html

# Ten million broken files for every reader of files: minutes. Writes docs/fuzzing.md.
fuzz:
    cargo test --workspace --test fuzz -- --ignored --nocapture
