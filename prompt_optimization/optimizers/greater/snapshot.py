"""Everything a search needs to go on elsewhere as if it had never stopped.

A snapshot is plain values and a list of outcomes, which the incumbent, the best prompts and the
memory of evaluations name by number. What it leaves out can be computed from it to the last bit:
the prefix cache depends on its tokens alone, not on how it was reached.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prompt_optimization.models.engine import Outcome
from prompt_optimization.models.layout import BoundaryError
from prompt_optimization.models.worker import Budgets
from prompt_optimization.optimizers.greater.evaluator import Evaluation
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.optimizers.greater.state import Scored, State

TOTALS = (
    "position", "active", "models", "step", "since_best", "grown", "seconds", "decoded",
    "evaluations",
)  # fmt: skip


@dataclass(frozen=True)
class Snapshot:
    """A search between two steps: JSON values, and the outcomes they refer to by index."""

    values: dict[str, Any]
    outcomes: list[Outcome]


def snapshot(search: GreaterSearch) -> Snapshot:
    """Take down where ``search`` stands."""
    state = search.state
    assert state is not None, "begin() comes first"
    outcomes: list[Outcome] = []
    numbers: dict[int, int] = {}

    def number(outcome: Outcome) -> int:
        if id(outcome) not in numbers:
            numbers[id(outcome)] = len(outcomes)
            outcomes.append(outcome)
        return numbers[id(outcome)]

    def record(scored: Scored) -> dict[str, Any]:
        evaluation = scored.evaluation
        return {
            "text": scored.text,
            "ids": scored.ids,
            "step": scored.step,
            "objective": evaluation.objective,
            "loss": evaluation.loss,
            "mistakes": evaluation.mistakes,
            "nll": evaluation.nll,
            "outcomes": [number(outcome) for outcome in evaluation.outcomes],
        }

    evaluator = search.evaluator
    values = {
        **{name: getattr(state, name) for name in TOTALS},
        "rng": state.rng.getstate(),
        "initial": record(state.initial),
        "incumbent": record(state.incumbent),
        "best": [record(scored) for scored in state.best],
        "memory": [
            [prompt, [[sample, number(outcome)] for sample, outcome in known.items()]]
            for prompt, known in evaluator.remembered.items()
        ],
        "reused": evaluator.reused,
        "computed": evaluator.computed,
        "teams": [
            {
                "prefix": team.prefix,
                "lengths": list(team.lengths.items()),
                "counts": dict(team.counts),
                "budgets": [asdict(budgets) for budgets in team.budgets()],
            }
            for team in search.teams
        ],
    }
    return Snapshot(values, outcomes)


def restore(search: GreaterSearch, taken: Snapshot) -> None:
    """Bring ``search``, made from the same settings and samples, to where ``taken`` was taken."""
    values, outcomes = taken.values, taken.outcomes

    def scored(record: dict[str, Any]) -> Scored:
        evaluation = Evaluation(
            record["objective"],
            record["loss"],
            record["mistakes"],
            record["nll"],
            tuple(outcomes[i] for i in record["outcomes"]),
        )
        return Scored(record["text"], tuple(record["ids"]), evaluation, record["step"])

    rng = random.Random()
    rng.setstate(_tuples(values["rng"]))
    search.state = State(
        initial=scored(values["initial"]),
        incumbent=scored(values["incumbent"]),
        best=[scored(record) for record in values["best"]],
        rng=rng,
        **{name: values[name] for name in TOTALS},
    )
    evaluator = search.evaluator
    evaluator.remembered = OrderedDict(
        (tuple(prompt), {sample: outcomes[i] for sample, i in known})
        for prompt, known in values["memory"]
    )
    evaluator.reused, evaluator.computed = values["reused"], values["computed"]
    for team, record in zip(search.teams, values["teams"], strict=True):
        team.limit([Budgets(**budgets) for budgets in record["budgets"]])
        team.move_prefix(tuple(record["prefix"]))
        team.lengths = dict(record["lengths"])
        # Last: what was just read once more has been counted already.
        team.counts = Counter(record["counts"])


def carry_over(search: GreaterSearch, taken: Snapshot) -> None:
    """Go on with the prompts of ``taken`` where settings, data or model have changed since.

    The prompts are kept by their text and evaluated anew; whatever was computed under the old
    settings is forgotten. A prompt that the new tokenizer cannot spell alike is dropped; the
    incumbent falls back on the initial prompt.
    """
    values = taken.values
    initial = search.begin()
    state = search.state
    assert state is not None

    places = search.evaluator.places(state.models, state.active)

    def found(record: dict[str, Any]) -> Scored | None:
        try:
            ids = search.samples.prompt_ids(record["text"])
        except BoundaryError:
            return None
        (evaluation,) = search.evaluator.evaluate([ids], places)
        return Scored(record["text"], ids, evaluation, record["step"])

    state.incumbent = found(values["incumbent"]) or initial
    search.remember(
        [scored for record in values["best"] if (scored := found(record))] + [state.incumbent]
    )
    state.position = min(values["position"], len(state.incumbent.ids))
    state.step = values["step"]
    state.seconds, state.decoded = values["seconds"], values["decoded"]
    state.evaluations = values["evaluations"]


def _tuples(value: Any) -> Any:
    """Lists back to the tuples that JSON has no word for."""
    return tuple(_tuples(item) for item in value) if isinstance(value, Sequence) else value
