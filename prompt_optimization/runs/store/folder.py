"""The logs of several searches of one call in a folder, or in memory only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.models.model import Model
from prompt_optimization.models.writers import Writer
from prompt_optimization.runs.config import Plan
from prompt_optimization.runs.environment import describe_run
from prompt_optimization.runs.store.identity import MODEL
from prompt_optimization.runs.store.lock import RunLock
from prompt_optimization.runs.store.log import read_log
from prompt_optimization.runs.store.store import Store
from prompt_optimization.tasks.examples import Example, Table

# What a resumed search may change besides the settings that are free anyway: held-out results that
# do not fit any more are made again.
HELD_OUT = {"answer_tokens", "n_dev_data", "n_test_data"}


@contextmanager
def open_folder(path: Path | None) -> Iterator[Folder]:
    """The folder at ``path``, with other processes kept off it; without a path, memory.

    Raises:
        InputError: another process works there, or an older version wrote it.
    """
    if path is None:
        yield Folder(None)
        return
    with RunLock(path / "optimize"):
        if (path / "optimize.json").exists():
            raise InputError(
                f"folder '{path}' holds an optimisation of an older version, which this one "
                "cannot continue; choose an empty folder",
                key="result_prefix",
            )
        yield Folder(path)


class Folder:
    """One log a search, ``<number>.json``."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def open(
        self,
        number: int,
        plan: Plan,
        extra: dict[str, Any],
        models: Sequence[Model],
        rows: Mapping[str, Sequence[Example]],
        warn: Callable[[str], None],
        writers: Mapping[str, Writer] | None = None,
    ) -> Store:
        """The store of a search: a new one, or where it stood.

        Args:
            extra: what the search depends on besides its settings.
            rows: by split, ``train`` among them.
            writers: of the search, by role.

        Raises:
            InputError: the search there was another one, or cannot be continued.
        """
        params = plan.params | extra
        if plan.metric.own:
            params["metric_values"] = plan.metric.fingerprint(rows["train"])
        if self.path is None:  # Nobody will ask where it came from; hashing weights takes time.
            return Store.create(None, params, {"dtype": plan.models.dtype})
        tables = {
            name: Table(Path("inputs" if name == "train" else name), _digest(some), tuple(some))
            for name, some in rows.items()
            if name != "dev"
        }
        environment = describe_run(models, tables, rows, plan.run.seed, writers)
        training = tables["train"]
        environment["training"] = f"{len(training.examples)} rows, sha256 {training.sha256}"
        log = self.path / f"{number}.json"
        if not log.exists():
            return Store.create(log, params, environment, keep=True)
        store = Store.resume(
            log,
            read_log(log),
            params | {"resume": "True"},
            environment,
            plan.free | HELD_OUT,
            warn,
            lambda text: None,
            keep=True,
            parts=MODEL | {"training": "the inputs"},
        )
        store.log.data["environment"] = environment
        return store


def _digest(examples: Sequence[Example]) -> str:
    entries = [example.content for example in examples]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()
