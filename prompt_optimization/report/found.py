"""Which run is meant, and which of its prompts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError, did_you_mean
from prompt_optimization.paths import user_path
from prompt_optimization.runs.store.collection import name_below, read_collection
from prompt_optimization.runs.store.log import found_prompt, logs_of, read_log, run_id, turns_in
from prompt_optimization.tasks.templates import Turns, filled

# Where commands look for runs that are given by name.
FOLDER = Path("results")

# Characters of a run's id that are enough to name it.
SHORTEST = 6

# Names that a refusal lists.
_LISTED = 5


@dataclass(frozen=True)
class Found:
    """A run.

    Attributes:
        path: its log's file.
        log: what that holds.
    """

    path: Path
    log: dict[str, Any]

    @property
    def chosen(self) -> str:
        """The prompt that dev has elected, or the best one so far.

        Raises:
            InputError: there is none yet, or it is no text.
        """
        evaluation = self.log["evaluation"] or {}
        kind = evaluation.get("kind", "text")  # logs from before there were several do not say
        if kind != "text":
            raise InputError(
                f"the run in '{self.path}' has chosen something of kind '{kind}', which is no "
                f"single text; --rank=1 is its best prompt on train ({evaluation['chosen']})"
            )
        return found_prompt(self.log) if "chosen" in evaluation else self.ranked(1)

    @property
    def initial(self) -> str:
        """The prompt that the search began with."""
        return str((self.log["initial"] or {}).get("prompt", self.log["params"]["control_init"]))

    def ranked(self, rank: int) -> str:
        """The best prompt on train for 1, the second best for 2, and so on.

        Raises:
            InputError: there are not that many.
        """
        best = self.log["best"]
        if not best:
            raise InputError(f"the run in '{self.path}' has found no prompt yet; wait for its "
                             "first step, or take --initial")  # fmt: skip
        if not 1 <= rank <= len(best):
            raise InputError(
                f"the run in '{self.path}' keeps {len(best)} prompts and has none of rank {rank}; "
                f"give a number from 1 to {len(best)}",
                key="rank",
            )
        return str(best[rank - 1]["prompt"])

    def turns(self, prompt: str) -> Turns:
        """The chat in which ``prompt`` stands, with ``{question}`` where the question does."""
        return filled(turns_in(self.log), prompt=prompt.strip(), question="{question}")

    def messages(self, prompt: str) -> list[dict[str, str]]:
        """``turns`` as JSON holds them."""
        return [asdict(turn) for turn in self.turns(prompt)]

    def whole(self, prompt: str) -> str:
        """All that the model reads before it reasons, with ``{question}`` where it stands."""
        chat = self.log["environment"]["chat_template"]
        if "pieces" in chat:  # what stands around the two slots, whatever their order
            text = " ".join(turn.content for turn in turns_in(self.log))
            slots = [prompt.strip(), "{question}"]
            if text.index("{question}") < text.index("{prompt}"):
                slots.reverse()
            before, between, after = chat["pieces"]
            return f"{before}{slots[0]}{between}{slots[1]}{after}"
        (turn,) = self.turns(prompt)
        return f"{chat['before']}{turn.content}{chat['after']}"


def find(name: str) -> Found:
    """The run that ``name`` means: a log's file; a result_prefix or folder, whose newest log
    counts; a run's name as ``greater list`` shows it; or the beginning of its id.

    Raises:
        InputError: there is none, several, or its log cannot be read.
    """
    if not name.strip():
        raise InputError("an empty name is no run; give a log or a run's name")
    path = user_path(name)
    # Unlike the methods of Path, these are false of what cannot be a file's name.
    if os.path.isfile(path):
        return Found(path, read_log(path))
    if os.path.isdir(path):
        return _only_one(path)
    for prefix in (name, str(FOLDER / name)):
        if file := _file_of(prefix):
            return Found(file, read_log(file))
    if os.path.isdir(FOLDER / name):
        return _only_one(FOLDER / name)
    return _by_id(name)


def read_prompt_or_run(name: str) -> Found | str:
    """The run that ``name`` means where there is one, and ``name`` as a prompt's text elsewhere.

    Raises:
        InputError: it looks like a file and there is none, or the log cannot be read.
    """
    try:
        return find(name)
    except InputError:
        # A text has spaces; what has none and is no run was meant to be one.
        if " " not in name.strip() or os.path.isfile(user_path(name)):
            raise
        return name


def _file_of(prefix: str) -> Path | None:
    if os.path.isfile(file := user_path(f"{prefix}.json")):
        return file
    try:
        logs = logs_of(prefix)
    except (OSError, ValueError):  # not what a file can be called
        return None
    return logs[-1] if logs else None


def _only_one(folder: Path) -> Found:
    runs = read_collection(folder).logs
    if len(runs) == 1:
        return Found(*next(iter(runs.items())))
    names = _names(runs, folder)
    raise InputError(
        f"folder '{folder}' holds {len(runs)} logs"
        + (f" ({names}); name one of them" if runs else "; give a log")
    )


def _by_id(name: str) -> Found:
    runs = read_collection(FOLDER).logs if FOLDER.is_dir() else {}
    if re.fullmatch(f"[0-9a-f]{{{SHORTEST},}}", name):
        alike = [path for path, log in runs.items() if run_id(log).startswith(name)]
        if len(alike) == 1:
            return Found(alike[0], runs[alike[0]])
        if alike:
            raise InputError(f"'{name}' begins the ids of {len(alike)} runs; give more of it")
    known = [name_below(FOLDER, path) for path in runs]
    hint = did_you_mean(name, known[-_LISTED:]) if known else "give a log's file"
    raise InputError(f"'{name}' is no log and no run in '{FOLDER}'; {hint}")


def _names(paths: Iterable[Path], folder: Path) -> str:
    names = [name_below(folder, path) for path in paths]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[-_LISTED:]) + more
