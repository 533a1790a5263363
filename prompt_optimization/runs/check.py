"""A dry run: could this run start, what would it read, and what would it take?

Whatever would refuse the run refuses the check, in the same order and with the same sentence.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.models.encoded import EncodedExamples
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.model import Model
from prompt_optimization.models.open import check_same_tokenizer, device_names, open_models
from prompt_optimization.models.outline import Outline, load_outline
from prompt_optimization.optimizers.base import optimizer_class
from prompt_optimization.runs.assemble import (
    check_search,
    decoding_of,
    make_session,
    open_writers,
    prepare,
    template_of,
)
from prompt_optimization.runs.config import Plan, plan
from prompt_optimization.runs.observers import Observers
from prompt_optimization.runs.store.identity import ExistingRun, check_writable, locate
from prompt_optimization.runs.store.store import Store
from prompt_optimization.tasks.examples import Example, Table
from prompt_optimization.tasks.open import read_task

Say = Callable[[str], None]

# Training rows and new tokens of the measurement. More say little more and take their time.
ROWS = 32
FEW, MORE = 2, 10


@dataclass(frozen=True)
class Measured:
    """What was measured on the real model.

    Attributes:
        row: seconds of one row whose reasoning has the full length.
        step: seconds of a step whose reasonings have the full length; None where a writer would
            have to be asked.
        evaluations: rows that a step evaluates.
        work: of the initial prompt and of a step, as ``max_work`` counts it.
    """

    row: float
    step: float | None = None
    evaluations: float = 0.0
    work: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Check:
    """What is known of a run that could start.

    Attributes:
        existing: the run that would be made or continued.
        tables: the task files by split.
        rows: the rows by split.
        outline: the first model.
        devices: of the copies, one name each.
        encoded: the rows by split, as the first model reads them.
        prompt_tokens: the most that the prompt may have.
        measured: None where nothing was to be measured.
    """

    plan: Plan
    existing: ExistingRun
    tables: dict[str, Table]
    rows: dict[str, tuple[Example, ...]]
    outline: Outline
    devices: tuple[str, ...]
    encoded: dict[str, EncodedExamples]
    prompt_tokens: int
    measured: Measured | None

    def longest(self) -> tuple[int, str, int]:
        """Tokens, split and row of the longest sequence that there could be."""
        decoding = decoding_of(self.plan)
        answer = self.plan.reasoning.answer_tokens
        return max(
            (needed, split, example.row)
            for split, rows in self.encoded.items()
            for needed, example in zip(
                rows.lengths(self.prompt_tokens, decoding.max_new_tokens, answer),
                rows.examples,
                strict=True,
            )
        )


@dataclass(frozen=True)
class Expected:
    """What a measured run is expected to take, in seconds, and where its search would end.

    Attributes:
        reason: what ends the search after ``steps``; empty where that cannot be said.
    """

    steps: float
    reason: str
    search: float
    held_out: float


def expected(found: Check) -> Expected | None:
    """What a run would take if every reasoning had its full length; None where it was not measured
    or a writer decides how long it takes."""
    settings, measured = found.plan, found.measured
    if measured is None or measured.step is None:
        return None
    stop, rows = settings.stop, {split: len(some) for split, some in found.rows.items()}
    begun = rows["train"] * settings.models.num_train_models
    tokens = settings.reasoning.max_new_tokens
    limits: dict[str, float] = {"n_steps": stop.max_steps}
    for name, first, each in (
        ("max_seconds", begun * measured.row, measured.step),
        ("max_evaluations", begun, measured.evaluations),
        ("max_decoded_tokens", begun * tokens, measured.evaluations * tokens),
        ("max_work", *measured.work),
    ):
        if (limit := getattr(stop, name)) and each:
            limits[name] = max(0.0, (limit - first) / each)
    reason = min(limits, key=limits.__getitem__)
    steps = limits[reason]
    scored = (settings.run.top_prompts + 1) * rows.get("dev", 0) + 2 * rows.get("test", 0)
    return Expected(
        steps, reason, begun * measured.row + steps * measured.step, scored * measured.row
    )


def check(values: Mapping[str, Any], note: Say, warn: Say, measure: bool = True) -> Check:
    """Find out whether the run that the settings ``values`` describe could start.

    Args:
        measure: load the model and measure a step, unless the model is a masked one.

    Raises:
        InputError: it could not.
    """
    settings = plan(values)
    for warning in settings.warnings:
        warn(warning)
    existing = locate(settings.params, settings.free)
    with _leaving_no_folder(existing.log):
        check_writable(existing.log)
    tables, splits = read_task(settings.task, warn, settings.method.unlabelled)
    rows = splits.named()
    check_search(settings, rows.values())
    devices = tuple(device_names(settings.compute)) if settings.compute.workers == "local" else ()
    wanted = settings.models.models()
    read = [
        _encode(settings, load_outline(replace(each, device=(devices or ("auto",))[0])), rows)
        for each in wanted
    ]
    outline, encoded, prompt_tokens = read[0]
    optimised = wanted[: settings.models.num_train_models]
    method = optimizer_class(settings.run.method)
    method.check_models(settings.method, [each.label for each in optimised])
    found = None
    if measure and not settings.models.masked:
        with ExitStack() as opened:
            models = opened.enter_context(open_models(optimised, settings.compute, note, warn))
            check_same_tokenizer(models, optimised)
            held_out = {name: some for name, some in rows.items() if name != "train"}
            prepare(settings, models, splits.train, held_out)
            opened.enter_context(open_writers(settings, models, note, warn))
            found = _measure(settings, models, splits.train, warn)
    return Check(settings, existing, tables, rows, outline, devices, encoded, prompt_tokens, found)


@contextmanager
def _leaving_no_folder(log: Path) -> Iterator[None]:
    """A check makes no folders that a run would make."""
    made = [folder for folder in log.parents if not folder.exists()]
    try:
        yield
    finally:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _encode(
    settings: Plan, outline: Outline, rows: Mapping[str, Sequence[Example]]
) -> tuple[Outline, dict[str, EncodedExamples], int]:
    """The rows as a model reads them, and the most tokens that the prompt may have.

    Raises:
        InputError: a row or the initial prompt does not go with the model.
    """
    layout = template_of(settings).layout(outline.tokenizer, outline.chat)
    prompt, decoding = Layout.normalise(settings.task.prompt), decoding_of(settings)
    encoded: dict[str, EncodedExamples] = {}
    longest = 0
    for split, examples in rows.items():
        try:
            encoded[split] = made = EncodedExamples(layout, examples, prompt)
            if split == "train":
                ids = made.prompt_ids(prompt)
                optimizer_class(settings.run.method).check_start(prompt, ids)
                longest = max(len(ids), settings.task.max_prompt_tokens)
            made.check_ids(outline.name, outline.vocabulary)
            room = longest, decoding.max_new_tokens, decoding.answer_tokens
            made.check_room(outline.name, outline.context, *room)
        except InputError as error:
            if split == "train":
                raise
            raise InputError(f"of {split}, {error.problem}", key=error.keys) from None
    return outline, encoded, longest


def _measure(
    settings: Plan, models: Sequence[Model], train: Sequence[Example], warn: Say
) -> Measured:
    """Time some rows, and a step of the method where no writer is asked.

    Few tokens are written, and the seconds of the full length are those of as many tokens at the
    same speed.
    """
    some = tuple(train[:ROWS])
    decoding = decoding_of(settings)
    full = decoding.max_new_tokens
    more = max(FEW + 1, min(full, MORE))
    prepare(settings, models, some, {})
    model = models[0]
    ids = model.training.prompt_ids(Layout.normalise(settings.task.prompt))

    def run(tokens: int) -> tuple[float, int]:
        before, start = model.counts["decoded"], time.perf_counter()
        short = replace(decoding, max_new_tokens=tokens, answer_tokens=0)
        model.submit_run([ids], short, range(len(some))).result()
        return time.perf_counter() - start, model.counts["decoded"] - before

    run(1)  # reads the questions, once for the whole search
    (few_seconds, few), (more_seconds, many) = run(FEW), run(more)
    token = max(0.0, more_seconds - few_seconds) / max(1, many - few)
    fixed = max(0.0, few_seconds - few * token) / len(some)

    def row(tokens: int) -> float:
        return fixed + token * tokens

    if settings.method.writes:
        return Measured(row(full))
    shorter = replace(settings, reasoning=replace(settings.reasoning, max_new_tokens=more))
    store = Store.create(None, settings.params, {})
    session = make_session(shorter, models, {}, store, Observers([], warn))
    ledger, stop, scale = session.scorer.ledger, settings.stop, len(train) / len(some)

    def work() -> float:
        longer = ledger.evaluations * (full - more)
        return (stop.work(ledger.tokens) + stop.decode_weight * longer) * scale

    session.optimizer.start(Layout.normalise(settings.task.prompt))
    evaluated, begun, start = ledger.evaluations, work(), time.perf_counter()
    if session.optimizer.step() is None:
        return Measured(row(full))
    seconds = time.perf_counter() - start
    evaluations = ledger.evaluations - evaluated
    besides = max(0.0, seconds - evaluations * row(more))
    step = (besides + evaluations * row(full)) * scale
    return Measured(row(full), step, evaluations * scale, (begun, work() - begun))
