"""From a run to what recommends prompts by what the run has learnt."""

from __future__ import annotations

from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.oirl.recommend import Recommender
from prompt_optimization.paths import user_path
from prompt_optimization.runs.store.artifacts import INDEX, ArtifactFolder, artifacts_path
from prompt_optimization.runs.store.log import logs_of, read_log

METHOD = "oirl"


def open_recommender(run: str | Path) -> Recommender:
    """What recommends a prompt for a question by what a run of the method ``oirl`` has learnt. It
    loads the run's sentence encoder and no language model.

    Args:
        run: the run's log, its ``result_prefix``, or the folder that ``greater oirl`` wrote.

    Raises:
        InputError: there is no such run, it is one of another method, it is unfinished, or it has
            kept no reward model.
    """
    return Recommender.of(ArtifactFolder(_folder(user_path(str(run)))))


def _folder(path: Path) -> Path:
    """Where the artifacts of the run that ``path`` names are."""
    if (path / INDEX).is_file():
        return path
    beside = artifacts_path(path)
    if not path.is_file() and beside.is_dir():  # the result_prefix of greater oirl
        return beside
    log = path
    if not path.is_file():
        logs = logs_of(str(path))
        if not logs:
            raise InputError(
                f"there is no run at '{path}'; give a run's log, or its result_prefix", key="from"
            )
        log = logs[-1]
    data = read_log(log)
    if data["method"] != METHOD:
        raise InputError(
            f"the run in '{log}' is one of the method '{data['method']}', which chooses one prompt "
            f"for every question; give a run of '{METHOD}'",
            key="from",
        )
    if data["status"] != "finished":
        raise InputError(
            f"the run in '{log}' is not finished ({data['status']}); continue it with "
            "--config.resume=True",
            key="from",
        )
    return artifacts_path(log)
