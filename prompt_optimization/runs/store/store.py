"""The log of one run and where the run stands, kept together.

The log is written first and the checkpoint second, so a kill between the two leaves the log a step
ahead; opening trims it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.files import write_whole
from prompt_optimization.optimizers.artifacts import Artifacts
from prompt_optimization.runs.store.artifacts import (
    ArtifactFolder,
    artifacts_path,
    remove_artifacts,
)
from prompt_optimization.runs.store.checkpoint import (
    Checkpoint,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)
from prompt_optimization.runs.store.identity import (
    MODEL,
    TASK,
    TOLD,
    differences,
    made_differently,
)
from prompt_optimization.runs.store.log import PLACE, RunLog
from prompt_optimization.runs.store.outputs import run_outputs_path
from prompt_optimization.runs.store.replies import ReplyLog, replies_path
from prompt_optimization.signals import shielded

Say = Callable[[str], None]


class Store:
    """A run's log, and its checkpoint where there is a file.

    Attributes:
        saved: where the run stood when it was opened; None for a new run.
        changed: settings, data or model are not those of ``saved``.
        keep: the checkpoint stays when the run has finished, so that more steps can be added.
    """

    def __init__(
        self, log: RunLog, saved: Checkpoint | None, changed: bool = False, keep: bool = False
    ) -> None:
        self.log = log
        self.saved = saved
        self.changed = changed
        self.keep = keep

    @classmethod
    def create(
        cls,
        path: Path | None,
        params: dict[str, Any],
        environment: dict[str, Any],
        keep: bool = False,
    ) -> Store:
        """A new run; without a path it is held in memory only.

        Raises:
            InputError: the log cannot be written.
        """
        if path is not None:
            checkpoint_path(path).unlink(missing_ok=True)
            replies_path(path).unlink(missing_ok=True)
            run_outputs_path(path).unlink(missing_ok=True)
            remove_artifacts(path)
        return cls(RunLog.create(path, params, environment), None, keep=keep)

    @classmethod
    def resume(
        cls,
        path: Path,
        data: dict[str, Any],
        params: dict[str, Any],
        environment: dict[str, Any],
        free: Set[str],
        warn: Say,
        note: Say,
        keep: bool = False,
        parts: dict[str, str] = MODEL | TASK,
    ) -> Store:
        """An existing run, whose log holds ``data``.

        Args:
            free: the settings that may have changed.
            parts: the parts of the environment that may not.
            warn, note: told what has changed all the same, and where the run continues.

        Raises:
            InputError: the run had other settings, data or model, or cannot be continued.
        """
        free = free | TOLD
        different = differences(data, params, environment, free, parts)
        if different and params["resume"] != "force":
            what = f"the run in '{path}' cannot be continued like this"
            otherwise = "continue all the same by force"
            raise made_differently(what, different, environment, otherwise, "resume")
        for words in different:
            warn(f"{words}; continuing all the same")
        packages = data["environment"]["packages"]
        for package, version in environment["packages"].items():
            if packages.get(package) != version:
                warn(f"{package} was {packages.get(package)} and is {version}")
        file = checkpoint_path(path)
        changed = bool(different)
        if not data["steps"] and not file.exists():
            saved, steps = None, 0  # killed before there was anything to continue from
        else:
            saved = load_checkpoint(file)
            steps = saved.search["optimizer"]["steps"]
            if saved.run != data["sessions"][0]["run"] or steps > len(data["steps"]):
                raise InputError(
                    f"checkpoint '{file}' belongs to another run than '{path}'; move it away and "
                    "start a new run",
                    key="resume",
                )
            note(f"continuing {path.resolve()} after step {steps}")
            # A session that was to carry the run over may have been killed before it had done so.
            changed |= any("forced" in later for later in data["sessions"][saved.session + 1 :])
        if different:
            data.update(params=params, environment=environment)
        else:
            data["params"] |= {key: params[key] for key in free & params.keys()}
        return cls(RunLog.resume(path, data, steps, different), saved, changed, keep)

    def replies(self) -> ReplyLog:
        """What the run's writer was asked and answered.

        Raises:
            InputError: see ``ReplyLog``.
        """
        return ReplyLog(self.log.path, self.changed)

    def artifacts(self) -> Artifacts:
        """What the run's method keeps.

        Raises:
            InputError: see ``ArtifactFolder``.
        """
        path = self.log.path
        return Artifacts() if path is None else ArtifactFolder(artifacts_path(path))

    def step(
        self,
        record: dict[str, Any],
        best: list[dict[str, Any]],
        search: dict[str, Any],
        held_out: dict[str, Any],
    ) -> None:
        """Keep a finished step whole: in the log and in the checkpoint.

        Raises:
            InputError: it cannot be written.
        """
        with shielded():
            self.log.step(record, best)
            self.save(search, held_out)

    def save(self, search: dict[str, Any], held_out: dict[str, Any]) -> None:
        """Keep where the run stands.

        Raises:
            InputError: it cannot be written.
        """
        if self.log.path is not None:
            session = len(self.log.data["sessions"]) - 1
            checkpoint = Checkpoint(self.log.run, session, search, held_out)
            save_checkpoint(checkpoint_path(self.log.path), checkpoint)

    def keep_outputs(self, records: Sequence[dict[str, Any]]) -> None:
        """Keep what the model wrote on test rows beside the log.

        Raises:
            InputError: it cannot be written.
        """
        if self.log.path is not None:
            lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            write_whole(run_outputs_path(self.log.path), lines.encode(), PLACE)

    def finish(self, status: str, **fields: Any) -> None:
        """Write the final status; a finished run needs no checkpoint, unless more may follow."""
        self.log.finish(status, **fields)
        if status == "finished" and not self.keep and self.log.path is not None:
            checkpoint_path(self.log.path).unlink(missing_ok=True)
