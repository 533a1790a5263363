"""Does choosing a prompt for each question help on questions that were not learnt from?

The released labels of Prompt-OIRL, split by question: every kind of reward model, several draws of
the split. Prints what IRL 0 gains over the best single prompt, with its interval over questions.
What was encoded is kept in the folder, so a second call fits only.

    python -m benchmarks.oirl --labels labels.npz --dataset mawps --questions mawps.json.gz \\
        --folder /tmp/mawps
    python -m benchmarks.oirl --labels labels.npz --dataset gsm8k --questions train.jsonl \\
        --questions test.jsonl --folder /tmp/gsm8k
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from prompt_optimization.models.embedder import Embedder
from prompt_optimization.models.settings import EmbedSettings
from prompt_optimization.optimizers.oirl.released import of_released, read_asked
from prompt_optimization.optimizers.oirl.settings import KINDS, OirlSettings
from prompt_optimization.optimizers.oirl.stages import Stages
from prompt_optimization.runs.store.artifacts import ArtifactFolder


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--questions", type=Path, action="append", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="what is made is kept here")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seeds", type=int, default=1, help="draws of the split")
    given = parser.parse_args()
    table = of_released(given.labels, given.dataset, read_asked(given.questions))
    embedder, kept = Embedder(EmbedSettings.default()), ArtifactFolder(given.folder)
    shown = Table(title=f"{given.dataset}: IRL 0 against the best single prompt, by question")
    for column in ("reward", "seed", "single", "IRL 0", "gain", "interval", "oracle", "n",
                   "accuracy", "always", "AUC", "log-loss", "rounds", "seconds"):  # fmt: skip
        shown.add_column(column, justify="right")
    for seed in range(given.seeds):
        for kind in given.kinds:
            start = time.perf_counter()
            stages = Stages(OirlSettings.default(reward=kind), table, embedder, kept, seed)
            whole = stages.report()["sets"][-1]
            seen, choices = whole["seen"], whole["choices"]
            gain = choices["irl0"]["gain"]
            shown.add_row(
                kind, str(seed), *(f"{100 * choices[name]['value']:.1f}" for name in
                                   ("best_single", "irl0")),
                f"{100 * gain['value']:+.1f}",
                f"[{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]",
                f"{100 * choices['oracle']['value']:.1f}", str(gain["n"]),
                *(f"{seen[name]:.3f}" for name in ("accuracy", "always", "auc", "log_loss")),
                str(whole["rounds"]), f"{time.perf_counter() - start:.0f}",
            )  # fmt: skip
    Console(highlight=False, width=140, markup=False).print(shown)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
