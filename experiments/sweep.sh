#!/usr/bin/env bash
# Shared by the run_*.sh sweeps: a queue of jobs over device slots, one process a job. A job is
# a task, or METHOD/TASK: the place of its log below RESULTS.
#
# Settings, all from the environment:
#   TASKS          names, by spaces; the sweep's own list when left out
#   METHODS        names, by spaces: each task with each of them, with a folder of logs for each
#                  below RESULTS; the config's method when left out
#   CONFIG         config file, from experiments/; the sweep's own when left out
#   DATA           folder of task files, from experiments/; data/official/BBH when it is there,
#                  else data/BBH
#   GPUS           device numbers, by spaces; all that nvidia-smi lists, or none: one CPU slot
#   GPUS_PER_TASK  devices of one task (1)
#   RESULTS        folder of logs, from experiments/ (results/<sweep>, and in its name what is
#                  not the sweep's own: another config, generated data)
#   RESUME         auto: finished tasks are skipped, unfinished ones go on; or what --config.resume
#                  takes
#   EXTRA          further flags for every task, by spaces; quotes keep spaces together
#   DRY_RUN        1 prints the commands and runs nothing
#   PYTHON         the interpreter; the set-up's .venv when it is there

cd "$(dirname "${BASH_SOURCE[0]}")" || exit
root=$(cd .. && pwd)

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    [ ! -x "$root/.venv/bin/python" ] || PYTHON=$root/.venv/bin/python
fi

# The 21 tasks of the paper's table 1.
# shellcheck disable=SC2034  # for the sweeps
BBH_TASKS="boolean_expressions causal_judgement date_understanding disambiguation_qa
formal_fallacies geometric_shapes hyperbaton logical_deduction_five_objects movie_recommendation
multistep_arithmetic_two navigate object_counting penguins_in_a_table
reasoning_about_colored_objects ruin_names salient_translation_error_detection snarks
sports_understanding temporal_sequences tracking_shuffled_objects_five_objects web_of_lies"

# Those of them that are answered by an option's letter.
# shellcheck disable=SC2034  # for the sweeps
BBH_CHOICE_TASKS="date_understanding disambiguation_qa geometric_shapes hyperbaton
logical_deduction_five_objects movie_recommendation penguins_in_a_table
reasoning_about_colored_objects ruin_names salient_translation_error_detection snarks
temporal_sequences tracking_shuffled_objects_five_objects"

fail() {
    echo "error: $*" >&2
    exit 2
}

# The task's file, or nothing when there is none.
task_file() {
    local file
    case $1 in
        gsm8k) file=$DATA/../GSM8K/gsm8k_train.json ;;
        folio) file=$DATA/../FOLIO/folio_train.json ;;
        *) file=$DATA/$1.json ;;
    esac
    [ ! -f "$file" ] || echo "$file"
}

finished() {
    local log stamp='_[0-9]{8}-[0-9]{6}(-[0-9]+)?\.json$'
    for log in "$RESULTS/$1"_*.json; do
        if [[ ${log#"$RESULTS/$1"} =~ ^$stamp ]] && grep -q '^ "status": "finished"' "$log"; then
            return 0
        fi
    done
    return 1
}

# sweep NAME CONFIG TASKS: see above.
sweep() {
    local name=$1 asked=${TASKS:-}
    CONFIG=${CONFIG:-$2}
    TASKS=${TASKS:-$3}
    # Another model's finished tasks are not this one's.
    [ "$CONFIG" = "$2" ] || name=${name}_$(basename "$CONFIG" .py)
    RESUME=${RESUME:-auto}
    GPUS_PER_TASK=${GPUS_PER_TASK:-1}
    [ -f "$CONFIG" ] || fail "config '$CONFIG' does not exist; give one with CONFIG="
    [[ $GPUS_PER_TASK =~ ^[1-9][0-9]*$ ]] || fail "GPUS_PER_TASK='$GPUS_PER_TASK' is no number"
    if [ -z "${DATA:-}" ]; then
        DATA=$root/data/official/BBH
        if [ ! -d "$DATA" ]; then
            DATA=$root/data/BBH
            name=${name}_generated
            echo "note: generated look-alike tasks; fetch the official ones with" \
                "python scripts/fetch_data.py bbh gsm8k folio"
        fi
    fi
    [ -d "$DATA" ] || fail "folder '$DATA' does not exist; give one with DATA="
    RESULTS=${RESULTS:-results/$name}

    # --- Slots: groups of devices, or one for the CPU ---
    local -a devices slots=() pids=() running=()
    if [ -z "${GPUS+set}" ] && command -v nvidia-smi >/dev/null; then
        GPUS=$(nvidia-smi --query-gpu=index --format=csv,noheader | tr '\n' ' ') ||
            fail "nvidia-smi does not work; name the devices with GPUS= (GPUS='' is the CPU)"
    fi
    read -ra devices <<<"${GPUS:-}"
    local i
    for ((i = 0; i + GPUS_PER_TASK <= ${#devices[@]}; i += GPUS_PER_TASK)); do
        slots+=("$(IFS=,; echo "${devices[*]:i:GPUS_PER_TASK}")")
    done
    if [ ${#slots[@]} -eq 0 ]; then
        [ ${#devices[@]} -eq 0 ] || fail "GPUS='$GPUS' are fewer than GPUS_PER_TASK=$GPUS_PER_TASK"
        slots=(cpu)
    fi

    # --- Queue ---
    local task method job
    local -a queue=() missing=() skipped=() methods
    read -ra methods <<<"${METHODS:-}"
    # A method is a folder with a search, as in optimizers/registry.py.
    local folder=$root/prompt_optimization/optimizers
    for method in "${methods[@]}"; do
        [ -f "$folder/$method/search.py" ] || fail "method '$method' is unknown; choose some of" \
            "$(cd "$folder" && dirname ./*/search.py | sed 's|^\./||' | xargs)"
    done
    for task in $TASKS; do
        if [ -z "$(task_file "$task")" ]; then
            [ -z "$asked" ] || fail "there is no file for task '$task' in '$DATA'; fetch it, or" \
                "spell it as its file"
            missing+=("$task")
            continue
        fi
        for method in "${methods[@]:-}"; do
            job=${method:+$method/}$task
            if [ "$RESUME" = auto ] && finished "$job"; then
                skipped+=("$job")
            else
                queue+=("$job")
            fi
        done
    done
    [ ${#missing[@]} -eq 0 ] || echo "no file in $DATA for: ${missing[*]}"
    if [ ${#skipped[@]} -gt 0 ]; then
        echo "finished already: ${skipped[*]}"
        echo "(their settings are not compared; RESUME=no or another RESULTS runs them anew)"
    fi
    mkdir -p "$RESULTS"
    trap 'stop_children' INT TERM

    local next=0 failed=0 busy slot
    while :; do
        busy=0
        for slot in "${!slots[@]}"; do
            if [ -n "${pids[slot]:-}" ]; then
                if kill -0 "${pids[slot]}" 2>/dev/null; then
                    busy=1
                    continue
                fi
                if wait "${pids[slot]}"; then
                    echo "done    ${running[slot]}"
                else
                    failed=$((failed + 1))
                    echo "FAILED  ${running[slot]}; the end of $RESULTS/${running[slot]}.out:"
                    tail -n 5 "$RESULTS/${running[slot]}.out" | sed 's/^/    /'
                fi
                unset 'pids[slot]'
            fi
            if [ $next -lt ${#queue[@]} ]; then
                start "${queue[next]}" "${slots[slot]}"
                next=$((next + 1))
            fi
        done
        [ $busy -eq 1 ] || [ $next -lt ${#queue[@]} ] || [ -n "${pids[*]:-}" ] || break
        [ -n "${DRY_RUN:-}" ] || sleep 0.5
    done
    trap - INT TERM
    if [ -z "${DRY_RUN:-}" ]; then
        "$PYTHON" -m prompt_optimization.report.summary "$RESULTS" || true
        # Without a finished run there is no page, which the table has just shown.
        [ -z "$(find "$RESULTS" -name '*.json' -print -quit)" ] ||
            "$PYTHON" "$root/scripts/report.py" "$RESULTS" --format html || true
    fi
    [ $failed -eq 0 ] || echo "$failed of ${#queue[@]} tasks failed"
    exit $((failed < 125 ? failed : 125))
}

# start JOB DEVICES: in the background; its process id goes into the caller's pids[slot].
start() {
    local job=$1 task=${1##*/} visible=$2
    local -a command extra=()
    [ -z "${EXTRA:-}" ] || mapfile -t extra < <(xargs -n 1 printf '%s\n' <<<"$EXTRA")
    command=(
        "$PYTHON" main.py "--config=$CONFIG"
        "--config.train_data=$(task_file "$task")" --config.extractor_text=
        "--config.result_prefix=$RESULTS/$job" "--config.resume=$RESUME"
        "${extra[@]}"
    )
    [ "$job" = "$task" ] || command+=("--config.method=${job%/*}")
    if [ "$visible" = cpu ]; then
        visible=
        command+=(--config.devices=cpu)
    fi
    if [ -n "${DRY_RUN:-}" ]; then
        echo "CUDA_VISIBLE_DEVICES=$visible ${command[*]@Q}"
        return
    fi
    echo "start   $job on ${visible:-the CPU}"
    mkdir -p "$(dirname "$RESULTS/$job")"
    CUDA_VISIBLE_DEVICES=$visible "${command[@]}" >"$RESULTS/$job.out" 2>&1 &
    pids[slot]=$!
    running[slot]=$job
}

stop_children() {
    trap - INT TERM
    echo "stopping; the same command goes on with the unfinished tasks" >&2
    local pid
    for pid in "${pids[@]}"; do
        [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    done
    wait
    exit 130
}
