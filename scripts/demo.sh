#!/usr/bin/env bash
# Optimises a prompt on the embedded model, live. More flags: bash scripts/demo.sh --config.n_steps=30
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/scripts/setup.sh"
venv=$(cd "${VENV:-$root/.venv}" && pwd)
cd "$root/experiments"
exec "$venv/bin/python" main.py --config=./configs/embedded.py "$@"
