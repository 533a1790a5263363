#!/usr/bin/env bash
# Optimises a prompt on the embedded model, live. More flags: bash scripts/demo.sh --config.n_steps=30
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/scripts/setup.sh"
venv=$(cd "${VENV:-$root/.venv}" && pwd)
cd "$root/experiments"
# In float32 other machines take the same way; bfloat16 rounds differently on each.
exec "$venv/bin/python" main.py --config=./configs/embedded.py --config.dtype=float32 \
    --config.n_steps=6 --config.top_prompts=4 "$@"
