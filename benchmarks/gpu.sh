#!/usr/bin/env bash
# Everything that is to be measured on a machine with a GPU; writes benchmarks/GPU.md. --trial tries the
# command itself, with a tiny model on the CPU. More flags: bash benchmarks/gpu.sh --help
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python="${VENV:-$root/.venv}/bin/python"
[ -x "$python" ] || python=python
PYTHONPATH="$root" exec "$python" -m benchmarks.gpu "$@"
