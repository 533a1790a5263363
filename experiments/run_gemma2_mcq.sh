#!/usr/bin/env bash
# Gemma-2-9B-it on the multiple-choice tasks of BIG-Bench Hard. Settings: see sweep.sh.
set -euo pipefail
# shellcheck source=experiments/sweep.sh
source "$(dirname "${BASH_SOURCE[0]}")/sweep.sh"
sweep gemma2_mcq configs/transfer_gemma2.py "$BBH_CHOICE_TASKS"
