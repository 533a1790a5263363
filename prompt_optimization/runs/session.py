"""One search, from its start or from where it stood to the measured result.

The loop, durability, budgets and the election on dev are written here once, for every method, for
harness and library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.models.worker import RowLimits
from prompt_optimization.optimizers.base import Entry, Optimizer, Step
from prompt_optimization.optimizers.stoppers import (
    BUDGETS,
    Progress,
    StopSettings,
    first_reason,
)
from prompt_optimization.runs.observers import Begin, End, Evaluated, Observers, StepDone
from prompt_optimization.runs.store.store import Store
from prompt_optimization.scoring.finalists import Finalist, Text
from prompt_optimization.scoring.held_out import (
    HeldOut,
    HeldOutScorer,
    compare,
    compare_by_group,
)
from prompt_optimization.scoring.scorer import BudgetSpent, Scorer
from prompt_optimization.signals import Interrupted, shielded
from prompt_optimization.tasks.examples import Example

# (initial, chosen) -> records of what other models make of them.
Transfer = Callable[["Session", Finalist, Finalist], list[dict[str, Any]]]


@dataclass
class Result:
    """What a session found.

    Attributes:
        status: of the log.
        initial: the initial prompt.
        best: the best prompts by the training objective.
        chosen: the finalist that dev has elected, or the best one.
        held_out: by split and finalist's name.
    """

    status: str
    initial: Entry | None = None
    best: list[Entry] = field(default_factory=list)
    chosen: Finalist | None = None
    held_out: dict[str, dict[str, HeldOut]] = field(default_factory=dict)

    @property
    def ranked(self) -> list[Entry]:
        """``best``; where dev has scored all of them, the initial prompt among them, in the order
        of dev."""
        on_dev = self.held_out.get("dev", {})
        if self.initial is None or not all(e.text in on_dev for e in (self.initial, *self.best)):
            return list(self.best)
        # The initial prompt stands for election, too, and first among equals.
        known = {entry.text: entry for entry in (self.initial, *self.best)}
        return sorted(known.values(), key=lambda entry: on_dev[entry.text].rank)


class Session:
    """A search and the measurement of what it found."""

    def __init__(
        self,
        optimizer: Optimizer,
        scorer: Scorer,
        held_out: HeldOutScorer,
        splits: Mapping[str, Sequence[Example]],
        prompt: str,
        stop: StopSettings,
        store: Store,
        observers: Observers,
        *,
        test_steps: int = 0,
        transfer: Transfer | None = None,
    ) -> None:
        """
        Args:
            held_out: scores ``splits``: ``dev`` elects, ``test`` is looked at once, in the end.
            prompt: the initial one, in ``Layout.normalise``'s form.
            test_steps: score the incumbent on dev every this many steps; 0: never.
            transfer: called in the end, when there are test rows.
        """
        self.optimizer = optimizer
        self.scorer = scorer
        self.held_out = held_out
        self.splits = splits
        self.prompt = prompt
        self.stop = stop
        self.store = store
        self.observers = observers
        self.test_steps = test_steps
        self.transfer = transfer
        self.result = Result("running")
        self._state: dict[str, Any] = {}
        scorer.activity.notify = observers.activity
        for model in scorer.models:
            model.executor.progress = scorer.activity.progress

    def run(self) -> Result:
        """Search and measure; ``result`` also holds what was found when an error ends it.

        Raises:
            InputError: something the user gave cannot be used. The log's status says ``failed``.
            Interrupted, KeyboardInterrupt: the log's status says ``interrupted``, or ``finished``
                where the signal came when all was done.
        """
        with self._kept():
            self._begin()
            self._search()
            self._conclude()
            evaluation = self._evaluate()
            tokens = self.scorer.ledger.tokens + self.held_out.ledger.tokens
            with shielded():
                self.store.finish(
                    "finished", evaluation=evaluation, tokens=dict(tokens), ledger=self._ledgers()
                )
                self.result.status = "stopped" if self.observers.stop else "finished"
        self._ended()
        return self.result

    @property
    def progress(self) -> Progress:
        """How far the search has come."""
        optimizer, ledger = self.optimizer, self.scorer.ledger
        best, incumbent = optimizer.leaderboard.best, optimizer.incumbent.scored
        whole = incumbent.rows == len(self.scorer.rows())
        work, owed = self.stop.work(ledger.tokens), optimizer.owed
        return Progress(
            steps=optimizer.steps,
            seconds=ledger.seconds,
            decoded=ledger.tokens["decoded"],
            # What is owed is as much work as an evaluation has been so far.
            work=work * (1 + owed / max(1, ledger.evaluations)),
            evaluations=ledger.evaluations + owed,
            requests=ledger.requests,
            written=ledger.written,
            objective=best.scored.objective if whole else float("inf"),
            since_best=optimizer.steps - 1 - max(best.step, optimizer.grown),
            solved=whole and incumbent.mistakes == 0,
        )

    def score(self, split: str, scorer: HeldOutScorer, finalists: Sequence[Finalist]) -> None:
        """Score ``finalists`` on the rows of a split, but for those that are known already.

        Args:
            split: ``dev``, ``test``, or another name for the test rows, as another model reads
                them.
        """
        known = self.result.held_out.setdefault(split, {})
        rows = self.splits.get(split, self.splits.get("test", ()))
        with self.scorer.activity.phase(split):
            for number, finalist in enumerate(finalists, 1):
                if finalist.name not in known:
                    known[finalist.name] = scorer.score(finalist, rows)
                    self.store.save(self._state, self._held_out_state())
                result = known[finalist.name]
                self.observers.evaluated(Evaluated(split, result, number, len(finalists)))

    def _begin(self) -> None:
        """Start, or continue where the run stood."""
        optimizer, saved, log = self.optimizer, self.store.saved, self.store.log
        with self.scorer.ledger.running(), self.scorer.activity.phase("start"):
            if saved is None:
                self._start()
            elif self.store.changed:
                self.scorer.ledger.restore(saved.search["scorer"]["ledger"])
                self.held_out.ledger.restore(saved.held_out["ledger"])
                optimizer.start(self.prompt)
                optimizer.carry_over(saved.search["optimizer"])
            else:
                self._restore(saved.search, saved.held_out)
        self.scorer.activity.take_seconds()  # belongs to no step
        self._found()
        log.data["initial"] = self._record(optimizer.initial)
        log.data["best"] = self._best()
        log.data["ledger"] = self._ledgers()
        log.write()
        self._state = self._search_state()
        if saved is None or self.store.changed:
            self.store.save(self._state, self._held_out_state())
        self.observers.begin(
            Begin(
                method=log.data["method"],
                log=log.path,
                max_steps=self.stop.max_steps,
                budgets={name: value for name in BUDGETS if (value := getattr(self.stop, name))},
                examples=len(self.scorer.examples),
                initial=log.data["initial"],
                incumbent=self._record(optimizer.incumbent),
                progress=self.progress,
            )
        )

    def _start(self) -> None:
        """Score the initial prompt.

        Raises:
            InputError: the metric finds nothing in any answer, so no prompt would be better.
        """
        scored = self.optimizer.start(self.prompt)
        if problem := self.scorer.nothing_found(scored.text):
            raise InputError(problem, key="metric")

    def _search(self) -> None:
        """Make steps until one of the stoppers, the method or an observer ends the search."""
        stoppers, budgets = self.stop.stoppers(), self.stop.budgets()
        self.scorer.limit = lambda: first_reason(budgets, self.progress)
        reason = None
        while reason is None:
            reason = first_reason(stoppers, self.progress)
            if reason is None and self.observers.stop:
                reason = "an observer asked for it"
            if reason is None:
                reason = self._step()
        self.scorer.limit = lambda: None
        self.store.log.data["ended"] = reason

    def _conclude(self) -> None:
        """Let the method do what it has left for the end, within ``max_evaluations``, which its
        steps have left room for. Other budgets end steps only."""
        optimizer, ledger, limit = self.optimizer, self.scorer.ledger, self.stop.max_evaluations
        self.scorer.limit = lambda: (
            f"{limit} evaluations" if limit and ledger.evaluations >= limit else None
        )
        done = True
        with ledger.running(), suppress(BudgetSpent):
            done = optimizer.conclude()
        self.scorer.limit = lambda: None
        if not done:
            return
        self.scorer.activity.take_seconds()  # belongs to no step
        self._found()
        self._state = self._search_state()
        self.store.log.data |= {"best": self._best(), "ledger": self._ledgers()}
        self.store.log.write()
        self.store.save(self._state, self._held_out_state())

    def _step(self) -> str | None:
        """Make a step and keep it; the reason when that was not possible."""
        ledger, index = self.scorer.ledger, self.optimizer.steps
        tokens, busy = ledger.tokens.copy(), self._busy()
        try:
            with ledger.running():
                made = self.optimizer.step()
        except BudgetSpent as spent:
            # A step that is cut short leaves nothing but its cost.
            self.optimizer.load_state_dict(self._state["optimizer"])
            return str(spent)
        if made is None:
            return self.optimizer.exhausted
        self.result.held_out.clear()  # Held-out results from before the search was extended.
        self._found()
        log = self.store.log
        if self.test_steps and (index + 1) % self.test_steps == 0 and "dev" in self.splits:
            result = self.held_out.score(Text(made.incumbent.text), self.splits["dev"])
            log.data["tests"].append({"step": index, **result.record()})
        record = self._step_record(index, made) | {
            "seconds": self.scorer.activity.take_seconds(),
            "busy": [now - then for now, then in zip(self._busy(), busy, strict=True)],
            "tokens": dict(ledger.tokens - tokens),
            "evaluations": ledger.evaluations,
        }
        self._state = self._search_state()  # asks the workers, which may take its time
        log.data["ledger"] = self._ledgers()
        log.data["memory"] = self._memory()
        self.store.step(record, self._best(), self._state, self._held_out_state())
        self.observers.step(StepDone(record, log.data["best"], self.progress))
        return None

    def _evaluate(self) -> dict[str, Any]:
        """Elect the best finalist on dev, and measure it and the initial prompt on test.

        Returns:
            the log's record of it.
        """
        initial: Finalist = Text(self.optimizer.initial.text)
        finalists = list(self.optimizer.finalists())
        chosen = finalists[0]
        evaluation: dict[str, Any] = {"dev": None, "test": None}
        found = self.result.held_out
        if "dev" in self.splits:
            # The initial prompt stands for election too: a search may find nothing better.
            candidates = [initial, *(each for each in finalists if each.name != initial.name)]
            self.score("dev", self.held_out, candidates)
            rank = self.optimizer.dev_rank
            chosen = min(candidates, key=lambda each: rank(each, found["dev"][each.name]))
            evaluation["dev"] = {
                "initial": found["dev"][initial.name].record(),
                "best": [found["dev"][each.name].record() for each in finalists],
            }
        self.result.chosen = chosen
        evaluation |= {"chosen": chosen.name, "kind": type(chosen).__name__.lower()}
        if "test" in self.splits:
            pair = [initial] if chosen.name == initial.name else [initial, chosen]
            contenders = self.optimizer.contenders()
            own = {each.name: each for each in (*pair, *contenders.values())}
            self.score("test", self.held_out, list(own.values()))
            before, after = (found["test"][each.name] for each in (initial, chosen))
            evaluation["test"] = {
                "initial": before.record(),
                "best": after.record(),
                "difference": compare(before, after),
            }
            if after.groups:
                evaluation["test"]["difference_by_group"] = compare_by_group(before, after)
            if contenders:
                evaluation["test"]["contenders"] = {
                    name: self._contender(before, found["test"][each.name], after)
                    for name, each in contenders.items()
                }
            if baseline := contenders.get(self.optimizer.baseline):
                beside = found["test"][baseline.name]
                evaluation["test"] |= self._to_baseline(beside, after)
                evaluation["test"]["baseline"] = self.optimizer.baseline
                for name, each in contenders.items():
                    record = evaluation["test"]["contenders"][name]
                    record |= self._to_baseline(beside, found["test"][each.name])
            self.store.keep_outputs(self._outputs([found["test"][each.name] for each in pair]))
            self.store.log.data["evaluation"] = evaluation
            self.store.log.write()
            if self.transfer is not None:
                evaluation["transfer"] = self.transfer(self, initial, chosen)
        return evaluation

    def _contender(self, initial: HeldOut, result: HeldOut, chosen: HeldOut) -> dict[str, Any]:
        """The log's record of what a method measures beside what was elected."""
        record = result.record() | {
            "difference": compare(initial, result),
            "to_best": compare(result, chosen),
        }
        if result.groups:
            record["difference_by_group"] = compare_by_group(initial, result)
        return record

    def _to_baseline(self, baseline: HeldOut, result: HeldOut) -> dict[str, Any]:
        """What ``result`` is worth beside the method's baseline, as the log holds it."""
        record = {"to_baseline": compare(baseline, result)}
        if result.groups:
            record["to_baseline_by_group"] = compare_by_group(baseline, result)
        return record

    def _outputs(self, results: Sequence[HeldOut]) -> list[dict[str, Any]]:
        """What was written on test rows, row by row, under every prompt of ``results``."""
        by_row = zip(self.splits["test"], *(result.rows for result in results), strict=True)
        return [
            {"split": "test", "row": example.row, "prompt": result.prompt, **row}
            for example, *rows in by_row
            for result, row in zip(results, rows, strict=True)
        ]

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Whatever ends the work within, the log says what it was."""
        store = self.store
        try:
            yield
        except (KeyboardInterrupt, Interrupted):
            self._failed("interrupted")
            raise
        except (InputError, FloatingPointError) as error:
            self._failed("failed", error=str(error))
            if isinstance(error, FloatingPointError) and store.log.path is not None:
                raise self._not_finite(error) from error
            raise
        except BaseException:
            self._failed("failed", error="see the traceback on the screen")
            raise

    def _failed(self, status: str, **fields: Any) -> None:
        """The log says how the work ended, unless all was done by then."""
        if self.result.status != "running":
            self._ended()
            return
        self.result.status = status
        try:
            self.store.finish(status, **fields)
        finally:
            self._ended()

    def _ended(self) -> None:
        self.observers.end(End(self.result.status, self.store.log.data, self.store.log.path))

    def _not_finite(self, error: FloatingPointError) -> InputError:
        log = self.store.log
        kind = log.data["environment"]["dtype"]
        return InputError(
            f"{error}, after {len(log.data['steps'])} steps in {kind}, which are in '{log.path}'; "
            + ("check the model's weights" if kind == "float32" else "try float32"),
            key=() if kind == "float32" else "dtype",
        )

    def _found(self) -> None:
        self.result.initial = self.optimizer.initial
        self.result.best = list(self.optimizer.leaderboard.entries)

    def _busy(self) -> list[float]:
        return [seconds for model in self.scorer.models for seconds in model.executor.busy]

    def _best(self) -> list[dict[str, Any]]:
        return [self._record(entry) for entry in self.optimizer.leaderboard.entries]

    def _record(self, entry: Entry) -> dict[str, Any]:
        """A prompt as the log holds it."""
        return entry.scored.record() | {
            "ids": list(self.scorer.ids(entry.text)),
            "found_at_step": entry.step,
        }

    def _step_record(self, index: int, step: Step) -> dict[str, Any]:
        """What all methods tell of a step, and beside it the method's own details."""
        common: dict[str, Any] = {
            "step": index,
            "tried": [
                {
                    "label": tried.label,
                    "prompt": tried.scored.text,
                    "objective": tried.scored.objective,
                    "capped": tried.scored.capped,
                }
                for tried in step.tried
            ],
            "accepted": step.accepted,
            "incumbent": self._record(step.incumbent),
            "best_objective": self.optimizer.leaderboard.best.scored.objective,
            "events": list(step.events),
        }
        assert not common.keys() & step.details.keys(), "details repeat a common key"
        return common | step.details

    def _ledgers(self) -> dict[str, Any]:
        return {"search": self.scorer.ledger.record(), "held_out": self.held_out.ledger.record()}

    def _search_state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "scorer": self.scorer.state_dict(),
            "rng": self.optimizer.tools.rng.getstate(),
        }

    def _memory(self) -> list[dict[str, Any]]:
        """How many rows go side by side in every worker, in the order of models and workers."""
        return [
            asdict(RowLimits(*limits))
            for model in self._state["scorer"]["models"]
            for limits in model["limits"]
        ]

    def _held_out_state(self) -> dict[str, Any]:
        return {
            "ledger": self.held_out.ledger.record(),
            "read": self._read(),
            "results": {
                split: [asdict(result) for result in results.values()]
                for split, results in self.result.held_out.items()
            },
        }

    def _restore(self, search: dict[str, Any], held_out: dict[str, Any]) -> None:
        self.scorer.load_state_dict(search["scorer"])
        self.optimizer.load_state_dict(search["optimizer"])
        self.optimizer.tools.rng.setstate(_tuples(search["rng"]))
        self.held_out.ledger.restore(held_out["ledger"])
        if held_out["read"] == self._read():  # Else the results belong to other rows.
            self.result.held_out = {
                split: {each["prompt"]: HeldOut(**each) for each in results}
                for split, results in held_out["results"].items()
            }

    def _read(self) -> dict[str, Any]:
        """What held-out results depend on besides the model, which resuming checks."""
        decoding = self.held_out.decoding
        rows = {
            split: [example.content for example in examples]
            for split, examples in self.splits.items()
        }
        digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        return {"rows": digest, "tokens": [decoding.max_new_tokens, decoding.answer_tokens]}


def _tuples(value: Any) -> Any:
    """Lists back to the tuples that JSON has no word for."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
