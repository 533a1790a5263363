"""Several methods at one budget, each with several seeds: one run after another, in one folder.

A contender is a method, or one with settings of its own.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError, did_you_mean
from prompt_optimization.models.kept import KeptModels
from prompt_optimization.models.open import open_models
from prompt_optimization.optimizers.registry import method_names, settings_class
from prompt_optimization.optimizers.stoppers import StopSettings
from prompt_optimization.runs.assemble import check_budget
from prompt_optimization.runs.config import Plan, plan
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.run import run
from prompt_optimization.runs.settings import SET_BY_COMPARISON
from prompt_optimization.runs.store.identity import changed_settings
from prompt_optimization.runs.store.log import RunLog, logs_of, read_log
from prompt_optimization.tasks.open import read_task
from prompt_optimization.tasks.settings import TaskSettings

# What the initial prompt is, and what it is joined by.
START = ("control_init", "connector")
# What has to be the same for all contenders.
SHARED = (*SET_BY_COMPARISON, "seed", "result_prefix", *(row.name for row in TaskSettings.rows()))

Contenders = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Entrant:
    """A contender with a seed, and the settings of its run: as values by name, and checked."""

    name: str
    seed: int
    values: dict[str, Any]
    plan: Plan

    @property
    def prefix(self) -> str:
        """Of its log."""
        return str(self.values["result_prefix"])


@dataclass(frozen=True)
class Outcome:
    """What became of an entrant: the log of its finished run, or why there is none."""

    entrant: Entrant
    log: RunLog | None = None
    error: Exception | None = None


def entrants(
    values: Mapping[str, Any],
    contenders: Contenders,
    budget: int,
    seeds: int,
    counted: str = "max_evaluations",
) -> list[Entrant]:
    """The runs of a comparison, in their order: every contender with the first seed, then with the
    next.

    Args:
        values: settings by name; ``result_prefix`` is the folder of the logs, ``seed`` the first.
        contenders: by name, the settings in which they differ, ``method`` among them.
        budget: of each run.
        seeds: how many.
        counted: the setting that limits a run to its budget: ``max_evaluations`` or ``max_work``.

    Raises:
        InputError: a contender sets what all share, a number is too small, the settings of a run
            or the task cannot be used, or the folder holds a run that had other settings.
    """
    for name, own in contenders.items():
        if shared := next((key for key in SHARED if key in own), None):
            raise InputError(
                f"the contender '{name}' sets {shared}, which is the same for all; leave it out",
                key="contenders",
            )
    contenders = {name: {"method": values["method"]} | dict(c) for name, c in contenders.items()}
    values = {**values, **_common_start(values, [own["method"] for own in contenders.values()])}
    flag = "budget" if counted == "max_evaluations" else "work"
    for key, number in ((flag, budget), ("seeds", seeds)):
        if number < 1:
            raise InputError(f"{number} is too small; give at least 1", key=key)
    found = []
    for seed in range(values["seed"], values["seed"] + seeds):
        for name, differing in contenders.items():
            prefix = Path(values["result_prefix"]) / f"{name}_seed{seed}"
            own = {
                **differing,
                "seed": seed,
                counted: budget,
                "resume": "auto",
                "result_prefix": str(prefix),
                "logfile": "",
            }
            changed = {**values, **own}
            try:
                found.append(Entrant(name, seed, changed, plan(changed)))
            except InputError as error:
                if differing.keys().isdisjoint(error.keys):
                    raise
                raise InputError(f"contender '{name}': {error.problem}", key=error.keys) from None
    # Every run says its warnings, and whether it needs answers that are not there.
    bare = all(entrant.plan.method.unlabelled for entrant in found)
    _, splits = read_task(found[0].plan.task, lambda _: None, bare)
    for entrant in found:
        if counted == "max_evaluations":
            check_budget(entrant.plan, len(splits.train), key="budget")
        _check_logs(entrant)
    return found


def carry_out(runs: Sequence[Entrant], display: Display) -> Iterator[Outcome]:
    """Make the runs, one after another: finished ones are left alone, unfinished ones continue.
    One that fails does not stop the others.

    Raises:
        Interrupted: a signal ended the run; the same call continues it.
    """
    with KeptModels() as kept:
        for number, each in enumerate(runs, 1):
            display.note(f"run {number} of {len(runs)}: {each.name}, seed {each.seed}")
            models = each.plan.models
            # Models that only test take the room of those that were optimised for.
            alone = len(models.model_paths) == models.num_train_models
            try:
                log = run(each.values, display, kept.open if alone else open_models)
            except Exception as error:
                if not isinstance(error, InputError):
                    traceback.print_exc()
                yield Outcome(each, error=error)
            else:
                yield Outcome(each, log)


def _common_start(values: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """What all methods begin with where nothing is given: what those bring that write whole
    sentences, where there is one of them. A difference to the initial prompt then has one meaning.
    """
    found: dict[str, Any] = {}
    for defaults in (settings_class(method).defaults for method in methods):
        found = {name: defaults[name] for name in START if name in defaults} | found
    return {name: value for name, value in found.items() if values[name] is None}


def of_methods(methods: Sequence[str]) -> Contenders:
    """Methods that differ in nothing else.

    Raises:
        InputError: there is none, or one is unknown or named twice.
    """
    known = method_names()
    if not methods:
        raise InputError(f"no methods; give some of {', '.join(known)}", key="methods")
    for place, name in enumerate(methods):
        if name not in known:
            raise InputError(
                f"method '{name}' is unknown; {did_you_mean(name, known)}", key="methods"
            )
        if name in methods[:place]:
            raise InputError(f"method '{name}' is named twice; name it once", key="methods")
    return {name: {"method": name} for name in methods}


def _check_logs(entrant: Entrant) -> None:
    """Refuse to mix runs that were made under different settings.

    A run by itself may be continued by another budget or by a model that has moved. Here both say
    what is compared.
    """
    settled = entrant.plan.free - {"model_paths", *(row.name for row in StopSettings.rows())}
    for log in logs_of(entrant.prefix):
        changed = changed_settings(read_log(log)["params"], entrant.plan.params, settled)
        if changed:
            raise InputError(
                f"the run in '{log}' had other settings: {'; '.join(changed)}; set them back, or "
                "give another folder",
                key="result_prefix",
            )
