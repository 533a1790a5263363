#!/usr/bin/env bash
# Gemma-2-9B-it on the multiple-choice tasks of BIG-Bench Hard. Variables: see sweep.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    [ ! -x ../.venv/bin/python ] || PYTHON=../.venv/bin/python
fi
exec "$PYTHON" sweep.py gemma2_mcq configs/transfer_gemma2.py choice
