#!/usr/bin/env bash
# Which search gains most at one amount of work? Six tasks, the bundled model, every contender.
#
#     bash benchmarks/proof/run.sh OUT OFFICIAL [TASK ...]
#     python -m benchmarks.proof OUT
#
# OUT takes a folder a task; the same command continues them. OFFICIAL holds the tasks as their authors
# publish them (see benchmarks/signal/study.sh), and bbh/hyperbaton.json. SEEDS, WORK and CONTENDERS (a file) may be set.
# JOBS processes run at once, a task and a seed each; they share GPUS GPUs.
set -euo pipefail
out=$1 official=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
tasks=("$@")
[ $# -gt 0 ] || tasks=(one_step_arithmetic sst2 subj agnews boolean_expressions hyperbaton)
export out official here WORK="${WORK:-200000}" SEEDS="${SEEDS:-3}" CONTENDERS="${CONTENDERS:-$here/contenders.yaml}" GPUS="${GPUS:-1}"

compare() { # TASK FIRST_SEED SEEDS
    local data=$here/../../data/BBH/$1.json tokens=12 test=400
    case $1 in
    sst2 | subj | agnews) data=$official/cls/$1.jsonl ;;
    boolean_expressions | hyperbaton) data=$official/bbh/$1.json test=130 ;;
    one_step_arithmetic) tokens=40 test=130 ;;
    esac
    local extractor=() # the two of BBH have their own
    case $1 in
    one_step_arithmetic) extractor=(--extractor='Therefore, the final answer is $') ;;
    sst2 | subj | agnews) extractor=(--extractor='Therefore, the answer is "') ;;
    esac
    python -m prompt_optimization compare --data="$data" "${extractor[@]}" \
        --contenders="$CONTENDERS" --work="$WORK" --seeds="$3" --config.seed="$2" \
        --config.max_new_tokens=$tokens --config.n_train_data=60 --config.n_dev_data=60 \
        --config.n_test_data=$test --config.top_prompts=3 --config.dtype=auto --config.result_prefix="$out/$1"
}
export -f compare

if [ "${JOBS:-1}" -gt 1 ]; then
    mkdir -p "$out"
    # shellcheck disable=SC2016
    for seed in $(seq "$SEEDS"); do
        for task in "${tasks[@]}"; do echo "$task $seed"; done
    done | xargs -P "$JOBS" -L 1 --process-slot-var=SLOT bash -c '
        [ "$GPUS" -eq 1 ] || export CUDA_VISIBLE_DEVICES=$((SLOT % GPUS))
        compare "$1" "$2" 1 >"$out/$1.$2.log" 2>&1' _
fi
for task in "${tasks[@]}"; do compare "$task" 1 "$SEEDS"; done # all seeds in one table
