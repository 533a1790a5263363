#!/usr/bin/env bash
# The study of docs/signal.md: six positions of each task, from one token to the whole prompt.
#
#     bash benchmarks/signal/study.sh OUT OFFICIAL [TASK ...]
#
# OUT takes the positions; the same command continues them. OFFICIAL holds the tasks as their authors
# publish them: cls/sst2.jsonl, cls/subj.jsonl, cls/agnews.jsonl (question and answer), and
# bbh/boolean_expressions.json. TRUTH_DRAWS adds fresh reasonings;
# POSITIONS chooses among the six.
set -euo pipefail
out=$1 official=$2
shift 2
root=$(cd "$(dirname "$0")/../.." && pwd)
tasks=("${@:-}")
[ -n "${tasks[0]}" ] || tasks=(one_step_arithmetic sst2 subj agnews boolean_expressions)
paper='proper logical reasoning and think step by step. Finally give the actual correct answer.'

position() { # TASK EDIT POSITION SEED PROMPT
    local data=$root/data/BBH/$1.json tokens=12 extractor=()
    case $1 in
    sst2 | subj | agnews) data=$official/cls/$1.jsonl ;;
    boolean_expressions) data=$official/bbh/$1.json ;;
    *) tokens=20 ;;
    esac
    case $1 in
    sst2) extractor=(--extractor 'Therefore, the final answer (exactly "positive" or "negative") is "') ;;
    subj) extractor=(--extractor 'Therefore, the final answer (exactly "subjective" or "objective") is "') ;;
    agnews) extractor=(--extractor 'Therefore, the final answer (exactly "World", "Sports", "Business" or "Technology") is "') ;;
    esac
    local prompts=()
    [ "$2" = prompt ] && prompts=(--prompts "$root/benchmarks/signal/prompts.txt")
    python -m benchmarks.signal --out "$out" --data "$data" "${extractor[@]}" --new-tokens $tokens \
        --questions 40 --others 40 --draws 4 --candidates 6 --truth-draws "${TRUTH_DRAWS:-4}" \
        --edit "$2" --position "$3" --seed "$4" --prompt "$5" "${prompts[@]}"
}

of() { # TASK NUMBER: one of the positions
    local good='one careful reading of the words. Then give the answer.'
    [ "$1" = one_step_arithmetic ] && good='a short calculation with the numbers. Give only the number.'
    case $2 in
    1) position "$1" prompt 0 0 "$good" ;;
    2) position "$1" clause 1 0 "$good" ;;
    3) position "$1" prompt 0 1 "$paper" ;;
    4) position "$1" span 3 0 "$good" ;;
    5) position "$1" prompt 0 2 'a poem about the sea, and do not answer.' ;;
    6) position "$1" token 1 0 "$good" ;;
    esac
}

for number in ${POSITIONS:-1 2 3 4 5 6}; do
    for task in "${tasks[@]}"; do of "$task" "$number"; done
done
