#!/usr/bin/env bash
# Which search gains most at one amount of work? Six tasks, the bundled model, every contender.
#
#     bash benchmarks/proof/run.sh OUT OFFICIAL [TASK ...]
#     python -m benchmarks.proof OUT
#
# OUT takes a folder a task; the same command continues them. OFFICIAL holds the tasks as their authors
# publish them (see benchmarks/signal/study.sh), and bbh/hyperbaton.json. SEEDS, WORK and CONTENDERS (a file) may be set.
set -euo pipefail
out=$1 official=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
tasks=("$@")
[ $# -gt 0 ] || tasks=(one_step_arithmetic sst2 subj agnews boolean_expressions hyperbaton)

for task in "${tasks[@]}"; do
    data=$here/../../data/BBH/$task.json tokens=12
    case $task in
    sst2 | subj | agnews) data=$official/cls/$task.jsonl ;;
    boolean_expressions | hyperbaton) data=$official/bbh/$task.json ;;
    one_step_arithmetic) tokens=20 ;;
    esac
    extractor=() # the two of BBH have their own
    case $task in
    one_step_arithmetic) extractor=(--extractor='Therefore, the final answer is $') ;;
    sst2 | subj | agnews) extractor=(--extractor='Therefore, the answer is "') ;;
    esac
    python -m prompt_optimization compare --data="$data" "${extractor[@]}" \
        --contenders="${CONTENDERS:-$here/contenders.yaml}" --work="${WORK:-25000}" --seeds="${SEEDS:-3}" \
        --config.max_new_tokens=$tokens --config.n_train_data=30 --config.n_dev_data=40 \
        --config.n_test_data=80 --config.top_prompts=2 --config.dtype=auto --config.result_prefix="$out/$task"
done
