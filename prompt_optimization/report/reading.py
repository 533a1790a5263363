"""How a prompt was read: what measurements share that are averaged or compared.

A reading holds, by name, what stood around the prompt, what read it and how the answer was taken.
What a file does not tell is ``UNKNOWN``, which equals no known value.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from prompt_optimization.runs.config import all_keys

Reading = dict[str, str]

UNKNOWN = "unknown"

# The settings that answers depend on. The environment tells the precision as it turned out to be.
READING = tuple(
    name for name, each in all_keys().items() if each.reading and each.attribute != "dtype"
)

# Characters of a hash that a label shows.
SHOWN = 6


def of_run(log: Mapping[str, Any]) -> Reading:
    """How the prompts of a run were read."""
    params = log["params"]
    return _common(params, log["environment"]) | {
        "chat_template_kwargs": _text(params.get("chat_template_kwargs")),
        "connector": _text(params.get("connector")),
        "extractor": _text(params.get("extractor_text")),
    }


def of_result(
    evaluation: Mapping[str, Any], result: Mapping[str, Any], arguments: Mapping[str, str]
) -> Reading:
    """How the prompt of an evaluation's result was read.

    A baseline from the literature brings its own connector, which then belongs to its prompt and
    not to the reading.

    Args:
        arguments: see ``template_arguments``.
    """
    params, origin = evaluation["params"], result["origin"]
    found = _common(params, evaluation["environment"])
    told = _text(params.get("chat_template_kwargs"))
    found["chat_template_kwargs"] = (
        arguments.get(found["chat_template"], UNKNOWN) if told == UNKNOWN else told
    )
    found["extractor"] = _text(result["extractor"])
    if origin["kind"] != "baseline" or origin["name"] == "initial":
        found["connector"] = _text(result["connector"])
    return found


def template_arguments(logs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The arguments of chat templates in ``logs``, by the hash of the text that they make.

    Evaluations tell the hash only. As it covers whatever the arguments change, an evaluation has
    the arguments of the runs with the same hash, where these agree.
    """
    found: dict[str, str] = {}
    for reading in map(of_run, logs):
        template, own = reading["chat_template"], reading["chat_template_kwargs"]
        found[template] = own if found.get(template, own) == own else UNKNOWN
    return {template: own for template, own in found.items() if template != UNKNOWN}


def alike(readings: Iterable[Reading]) -> bool:
    """Whether a mean over tasks may be taken of what was read so: the readings are the same, but
    for the extractor, which is a task's own."""
    different = {
        json.dumps({name: value for name, value in each.items() if name != "extractor"})
        for each in readings
    }
    return len(different) <= 1


def distinguishing(readings: Iterable[Reading]) -> list[str]:
    """Names whose values together distinguish all different ``readings``.

    A name is left out where those before it settle its value, as a template settles its stop ids.
    """
    every = list(readings)
    found: list[str] = []
    for name in sorted({name for each in every for name in each}):
        values: defaultdict[tuple[str | None, ...], set[str]] = defaultdict(set)
        for each in every:
            if name in each:
                values[tuple(each.get(before) for before in found)].add(each[name])
        if any(len(different) > 1 for different in values.values()):
            found.append(name)
    return found


def label(name: str, value: str) -> str:
    """A part of a reading in the words of a report."""
    hashed = name in ("chat_template", "tokenizer", "weights") and value != UNKNOWN
    return f"{name}={value[:SHOWN] if hashed else value}"


def _common(params: Mapping[str, Any], environment: Mapping[str, Any]) -> Reading:
    """What runs and evaluations tell in the same place."""
    template = environment.get("chat_template") or {}
    keys = all_keys()
    untold = {name: keys[name].untold for name in READING if name in keys}
    return {name: _text(params.get(name, untold.get(name))) for name in READING} | {
        "weights": _text(environment.get("weights")),
        "tokenizer": _text(environment.get("tokenizer")),
        "dtype": _text(environment.get("dtype")),
        "stop_ids": _text(environment.get("stop_ids")),
        "chat_template": _text(template.get("sha256")),
    }


def _text(value: Any) -> str:
    """``value`` as it is compared and shown."""
    if value is None:
        return UNKNOWN
    if isinstance(value, str):
        return value if value.isalnum() and value != UNKNOWN else repr(value)
    return json.dumps(value, sort_keys=True)
