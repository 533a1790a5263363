#!/usr/bin/env bash
# Llama-3-8B-Instruct on the tasks of the paper's table 1. Settings: see sweep.sh.
set -euo pipefail
# shellcheck source=experiments/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep llama3 configs/transfer_llama3.py "$BBH_TASKS gsm8k folio"
