#!/usr/bin/env bash
# Style, types, tests. Further arguments go to pytest: bash scripts/test.sh -k layout
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/scripts/setup.sh"
venv=$(cd "${VENV:-$root/.venv}" && pwd)
cd "$root"
# As modules: scripts in bin/ name the path at which the environment was made.
"$venv/bin/python" -m ruff check .
"$venv/bin/python" -m mypy
"$venv/bin/shellcheck" -x scripts/*.sh experiments/*.sh benchmarks/*.sh benchmarks/*/*.sh
# One worker a core; the tests themselves use one thread each.
export OMP_NUM_THREADS=1
exec "$venv/bin/python" -m pytest -n auto --dist worksteal "$@"
