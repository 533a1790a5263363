"""Learn which prompt suits which question from a table of outcomes, without a language model.

The stages of the method oirl after collecting: --config.oirl.table names the table, and
--config.oirl.stage the last stage. What they make lies in RESULT_PREFIX.artifacts, and
greater recommend --from=RESULT_PREFIX answers by it. The same command continues where it was
stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prompt_optimization.commands.flags import CONFIG, execute
from prompt_optimization.errors import InputError
from prompt_optimization.garbage import uncollected
from prompt_optimization.paths import user_path
from prompt_optimization.runs.config import values_of


def main(arguments: Sequence[str], program: str) -> int:
    return execute(learn, arguments, program, __doc__ or "")  # python -OO removes the text


def learn(_: Sequence[str]) -> None:
    learn_from(values_of(CONFIG.value))


def learn_from(values: Mapping[str, Any]) -> None:
    """Carry out the stages that the settings ``values`` ask for, and print the report.

    Raises:
        InputError: the table or a setting cannot be used.
    """
    from prompt_optimization.models.settings import EmbedSettings
    from prompt_optimization.optimizers.oirl.settings import OirlSettings
    from prompt_optimization.runs.settings import RunSettings

    own, embed, run = OirlSettings.of(values), EmbedSettings.of(values), RunSettings.of(values)
    if not own.table:
        raise InputError(
            "no table of outcomes; give the table.npz of a run, or one that greater import-table "
            "made",
            key="oirl.table",
        )
    embed.check_ready()
    # Only now, because this loads torch.
    with uncollected():
        from prompt_optimization.models.embedder import Embedder
        from prompt_optimization.optimizers.oirl.outcomes import (
            check_table,
            keep_table,
            read_outcomes,
        )
        from prompt_optimization.optimizers.oirl.report import lines
        from prompt_optimization.optimizers.oirl.settings import STAGES
        from prompt_optimization.optimizers.oirl.stages import Stages
        from prompt_optimization.runs.display import Display
        from prompt_optimization.runs.store.artifacts import ArtifactFolder, artifacts_path
        from prompt_optimization.runs.store.lock import RunLock

    display = Display(run.verbose)
    place = user_path(run.result_prefix)
    try:
        for warning in own.warnings:
            display.warn(warning)
        table = read_outcomes(user_path(own.table), "oirl.table")
        check_table(table)
        place.parent.mkdir(parents=True, exist_ok=True)
        with RunLock(place):
            folder = ArtifactFolder(artifacts_path(place))
            stages = Stages(own, table, Embedder(embed), folder, run.seed)
            last = STAGES.index(own.stage)
            keep_table(table, folder)
            # What cannot be cut is refused here, before anything is encoded.
            count = len(stages.parts.table.questions)
            if last >= STAGES.index("features"):
                display.note(f"encoding {count} questions")
                stages.encode()
            if last >= STAGES.index("reward"):
                display.note(f"fitting {own.reward}")
                stages.rewards()
            if last >= STAGES.index("report"):
                for line in lines(stages.report()):
                    print(line)
        print(folder.folder.resolve())
    finally:
        display.close()
