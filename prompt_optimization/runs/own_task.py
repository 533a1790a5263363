"""A task of the user's own: what its rows decide where nothing else does.

Free of torch, so that refusals come at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.registry import DEFAULT, settings_class
from prompt_optimization.runs.config import all_keys, plan
from prompt_optimization.runs.naming import METRIC_OPTIONS
from prompt_optimization.runs.store.identity import changed_settings
from prompt_optimization.runs.store.log import logs_of, read_log
from prompt_optimization.tasks.cells import shown
from prompt_optimization.tasks.examples import SPLITS, Columns, Table
from prompt_optimization.tasks.forms import form_of
from prompt_optimization.tasks.hub import stem_of
from prompt_optimization.tasks.metrics.registry import METRICS, Options
from prompt_optimization.tasks.open import read_tables
from prompt_optimization.tasks.registry import task_of
from prompt_optimization.tasks.settings import TaskSettings
from prompt_optimization.tasks.splits import usual_sizes

# What describes the rows of one task, and says nothing of those of another one.
OF_ROWS = (
    "dev_data",
    "test_data",
    "target_data",
    "data_offset",
    "n_train_data",
    "n_dev_data",
    "n_test_data",
    "extractor_text",
    "metric",
    "result_prefix",
    "logfile",
)
# The metric of whole texts that needs no further package, and of numbers that are not whole.
OF_TEXTS, OF_NUMBERS = "f1", "number"
# The method where no answer is forced, so that no loss of it has a gradient.
WITHOUT_GRADIENT = "random"


@dataclass(frozen=True)
class Choice:
    """What was chosen, in a sentence, and the settings that choose another one."""

    sentence: str
    keys: tuple[str, ...] = ()


def complete(
    given: Mapping[str, Any], other: bool, typed: Set[str], command: str = ""
) -> tuple[dict[str, Any], list[Choice]]:
    """The settings of a task, with those that its rows decide.

    Args:
        given: every setting by its name.
        other: a config gave some of them for another task.
        typed: those that the command line sets.
        command: whose results they are; empty for a run, which may continue an earlier one.

    Returns:
        the settings, and what was chosen.

    Raises:
        InputError: the rows cannot be read or divided.
    """
    values, keys, choices = dict(given), all_keys(), []
    if other:
        values |= {name: keys[name].unset for name in OF_ROWS if name not in typed}
    for each in TaskSettings.rows():
        if values[each.name] is not None:
            values[each.name] = each.check(values[each.name])
    data = values["train_data"]
    files = {name: str(values[f"{name}_data"]) for name in (*SPLITS, "target")}
    columns = Columns(values["task.question_column"], values["task.answer_column"])
    tables = read_tables(files, columns, settings_class(values["method"]).unlabelled)
    if task := task_of(data):
        named = f"the file is named after the task '{task.name}', which brings splits and extractor"
        choices.append(Choice(named))
    else:
        choices += [_divide(values, tables), *_ask(values, tables["train"], typed, command)]
    if values["result_prefix"] == keys["result_prefix"].default and not values["logfile"]:
        folder = Path("results") / _name(data)
        values["result_prefix"] = str(folder / (command or values["method"]))
        choices.append(Choice(f"results go to the folder {folder}", ("result_prefix",)))
    if not command and values["resume"] == "no" and not {"resume", "logfile"} & typed:
        choices += _continue(values, tables)
    return values, choices


def _divide(values: dict[str, Any], tables: Mapping[str, Table]) -> Choice:
    """Set the sizes of the splits."""
    wanted = {split: values[f"n_{split}_data"] for split in SPLITS}
    dev, test = tables.get("dev"), tables.get("test")
    sizes = usual_sizes(tables["train"], dev, test, values["data_offset"], wanted)
    values |= {f"n_{split}_data": size for split, size in sizes.items()}
    train, held_out = sizes["train"], f"{sizes['dev']} elect on dev, {sizes['test']} test"
    rows = len(tables["train"].examples)
    return Choice(
        f"of {rows} rows {train} train, {held_out}",
        tuple(f"n_{split}_data" for split in SPLITS),
    )


def _ask(values: dict[str, Any], table: Table, typed: Set[str], command: str) -> Iterator[Choice]:
    """Set the extractor that asks for the answers, or what a task without one needs."""
    given = "extractor_text" in typed or values["extractor_text"].strip()
    if not given and _reads_beginning(values):
        form = form_of([example for example in table.examples if example.labelled])
        text = form.extractor(values["extractor_style"])
        values["extractor_text"] = text
        asked = f"so they are asked for by '{text}'" if text else "so nothing asks for a short form"
        yield Choice(f"the answers are {form.shown}, {asked}", ("extractor_text",))
        if form.name == "number" and values["metric"] is None:
            values["metric"] = OF_NUMBERS
            yield Choice("a number is right whatever way it is written", ("metric",))
    if not values["extractor_text"].strip():
        yield from _whole_texts(values, has_method=bool(command) or "method" in typed)
    start = values["data_offset"]
    answers = [example.answer for example in table.examples]
    trained = set(answers[start : start + values["n_train_data"]])
    if len(trained) == 1 < len(set(answers)):
        yield Choice(
            f"every training row is answered {shown(*trained)} and others are not; shuffle the "
            f"rows of '{table.path}'"
        )


def _whole_texts(values: dict[str, Any], has_method: bool) -> Iterator[Choice]:
    chosen = {}
    if values["metric"] is None:
        chosen["metric"] = OF_TEXTS
    if values["objective"] is None:
        chosen["objective"] = "answers"
    if values["method"] == DEFAULT and not has_method:
        chosen["method"] = WITHOUT_GRADIENT
    values |= chosen
    if chosen:
        words = ", ".join(f"{name}={value}" for name, value in chosen.items())
        yield Choice(f"all that the model writes is its answer, so {words}", tuple(chosen))


def _reads_beginning(values: Mapping[str, Any]) -> bool:
    """Whether the metric, the usual one where none is given, needs an extractor."""
    if values["metric"] is None:
        return True
    options = {
        all_keys()[name].attribute: values[name]
        for name in METRIC_OPTIONS
        if values[name] is not None
    }
    return METRICS[values["metric"]](Options(**options)).reads_beginning


def _name(data: str) -> str:
    """Of the folder of results: the data's name without what a folder's should not have."""
    stem = stem_of(data)
    name = stem.partition(".")[0] or stem
    return re.sub(r"[^\w-]+", "_", name).strip("_") or "task"


def _continue(values: dict[str, Any], tables: Mapping[str, Table]) -> Iterator[Choice]:
    """Have the newest run with these settings and rows continue, where there is one."""
    if not (logs := logs_of(values["result_prefix"])):
        return
    settings = plan(values)
    hashes = {name: table.sha256 for name, table in tables.items()}
    for path in reversed(logs):
        try:
            log = read_log(path)
        except InputError:
            continue  # of another version, or damaged; a new run leaves it alone
        finished = log["status"] == "finished"
        # A finished run is not extended, and another model makes another run.
        free = settings.free - {"model_paths", *(["n_steps"] if finished else [])}
        data = {name: each["sha256"] for name, each in log["environment"]["data"].items()}
        if data == hashes and not changed_settings(log["params"], settings.params, free):
            values |= {"logfile": str(path), "resume": "auto"}
            if finished:
                yield Choice(f"resume=no makes the run in '{path}' again", ("resume",))
            else:
                yield Choice(f"the unfinished run in '{path}' continues", ("resume",))
            return
