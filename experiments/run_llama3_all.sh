#!/usr/bin/env bash
# Llama-3-8B-Instruct on the tasks of the paper's table 1. Variables: see sweep.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    [ ! -x ../.venv/bin/python ] || PYTHON=../.venv/bin/python
fi
exec "$PYTHON" sweep.py llama3 configs/transfer_llama3.py table1
