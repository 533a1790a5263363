"""The run on the screen: live in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table as Grid

from prompt_optimization.optimizers.stoppers import Progress as SearchProgress
from prompt_optimization.runs.observers import Begin, End, Evaluated, Observer, StepDone
from prompt_optimization.runs.shift import Shift, shifts
from prompt_optimization.runs.store.log import metric_of
from prompt_optimization.tasks.metrics.metric import called
from prompt_optimization.tasks.templates import END, short_name
from prompt_optimization.tasks.texts import one_line, word_changes

# Characters of a tried prompt that a line shows.
LABEL = 32


class Display(Observer):
    """Shows what a run does. Silent but for warnings and the result when not ``verbose``."""

    def __init__(self, verbose: bool = True, console: Console | None = None) -> None:
        self.console = console or _console()
        self.verbose = verbose
        self._begin: Begin | None = None
        self._prompt = ""
        self._split = ""
        self._started = 0.0
        self._live: Progress | None = None
        self._task = TaskID(0)

    def warn(self, text: str) -> None:
        self._print(f"[yellow]warning:[/] {escape(text)}")

    def note(self, text: str) -> None:
        if self.verbose:
            self._print(f"[dim]{escape(text)}[/]")

    def _print(self, shown: Any = "") -> None:
        """Put something on the screen; a screen that is gone must not end the run."""
        try:
            self.console.print(shown)
        except (OSError, ValueError):
            self.close()
            self.console = Console(file=io.StringIO())

    def begin(self, event: Begin) -> None:
        self._begin = event
        self._started = time.monotonic()
        self._prompt = event.incumbent["prompt"]
        where = f"; log: {event.log.resolve()}" if event.log else ""
        self.note(f"{event.max_steps} steps on {event.examples} training samples{where}")
        if not self.verbose:
            return
        done = event.progress.steps
        name = f"{done:>4}/{event.max_steps}" if done else "initial"
        prompt = _text(self._prompt)
        self._print(f"[bold]{name}[/]  {_numbers(event.incumbent)}  {prompt}")
        self._show(f"step {done + 1}", event.progress)

    def activity(self, phase: str, done: int, of: int) -> None:
        if not self.verbose or not self.console.is_terminal:
            return
        if self._live is None:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[doing]}"),
                console=self.console,
                transient=True,
            )
            self._task = self._live.add_task("", total=None, doing="")
            self._live.start()
        amount = f" {done}/{of} rows" if of else ""
        self._live.update(self._task, doing=f"{phase}{amount}")

    def step(self, event: StepDone) -> None:
        if not self.verbose:
            return
        assert self._begin is not None
        record, progress = event.record, event.progress
        seconds = " ".join(
            f"{phase} {value:.1f}s" for phase, value in record["seconds"].items() if value >= 0.05
        )
        verdict = "[green]taken[/]" if record["accepted"] else "[dim]kept [/]"
        tried = ", ".join(map(_tried, record["tried"]))
        prompt = record["incumbent"]["prompt"]
        self._print(
            f"[bold]{progress.steps:>4}/{self._begin.max_steps}[/]  {verdict}  "
            f"{_numbers(record['incumbent'])}  {marked(self._prompt, prompt)}"
        )
        self._prompt = prompt
        where = f"at {record['position']}: " if "position" in record else ""
        self._print(
            f"[dim]           {where}tried {tried or 'nothing'} | {seconds} | "
            f"{self._left(progress)} left[/]"
        )
        for happened in record["events"]:
            self._print(f"[cyan]           {escape(happened)}[/]")
        self._show(f"best {event.best[0]['objective']:.3f}", progress)

    def evaluated(self, event: Evaluated) -> None:
        if event.split != self._split:
            self._split = event.split
            rows = event.result.value.n
            self.note(f"{event.split}: {event.of} prompts on {rows} rows the search has not seen")
        self.scored(event.result.prompt, event.result.value.value, event.result.metric)

    def scored(self, prompt: str, accuracy: float, metric: str) -> None:
        """A prompt with the share of rows that it got right, or with their mean value."""
        if self.verbose:
            self._print(f"  {100 * accuracy:5.1f} % {called(metric)}  {_text(prompt)}")

    def end(self, event: End) -> None:
        """The result of a finished run, shown whether verbose or not."""
        self.close()
        data = event.data
        if event.status not in ("finished", "stopped"):
            return
        self.note(f"search ended: {data['ended']}")
        evaluation, initial = data["evaluation"], data["initial"]
        self._print()
        self._print(f"[bold]initial prompt[/]  {_text(initial['prompt'])}")
        self._print(f"[bold]best prompt[/]     {_text(evaluation['chosen'])}")
        known = [initial, *data["best"]]
        best = next((each for each in known if each["prompt"] == evaluation["chosen"]), None)
        if best and best["samples"] == initial["samples"]:
            elected = ", of the prompt that was elected on dev" if evaluation["dev"] else ""
            self._print(
                f"training objective on {initial['samples']} samples: "
                f"{initial['objective']:.3f} -> {best['objective']:.3f}{elected}"
            )
        if evaluation["test"] is not None:
            self._print(_accuracies(evaluation["test"]))
            if "difference_by_group" in evaluation["test"]:
                self._print(_by_group(evaluation["test"]))
            if "contenders" in evaluation["test"]:
                self._print(_contenders(evaluation["test"]))
                self._print(_leads(evaluation["test"]))
            if lines := shifts(data):
                self._print(_shifts(lines))
        self._print(_cost(data["ledger"]["search"]))
        if event.log is not None:
            self._print(f"log: {escape(str(event.log.resolve()))}")

    def results(self, results: Sequence[dict[str, Any]], path: Path) -> None:
        """Everything that an evaluation's file holds, shown whether verbose or not."""
        self.close()
        grid = Grid(title="accuracy in %, with 95 % interval")
        for column in ("task", "split", "rows", "named by", "metric", "accuracy", "prompt"):
            grid.add_column(column, overflow="fold")
        for result in results:
            metric = metric_of(result)
            shared = [escape(_named_by(result["origin"])), escape(result.get("read_by", metric))]
            for group, found in {"": result, **result.get("by_group", {})}.items():
                split = f"{result['split']}, {group}" if group else result["split"]
                grid.add_row(
                    escape(result["task"]),
                    escape(split),
                    str(found[metric]["n"]),
                    *shared,
                    _interval(found[metric]),
                    _placed(result),
                )
        self._print(grid)
        self._print(f"evaluation: {escape(str(path.resolve()))}")

    def close(self) -> None:
        """Give the terminal back, whatever happened."""
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(OSError, ValueError):
                live.stop()

    def _show(self, text: str, progress: SearchProgress) -> None:
        """What the live line says of the search as a whole."""
        self.activity("", 0, 0)
        if self._live is None or self._begin is None:
            return
        used = [f"{progress.steps}/{self._begin.max_steps} steps"]
        amounts = {
            "max_seconds": (progress.seconds, "s"),
            "max_decoded_tokens": (progress.decoded, " tokens decoded"),
            "max_work": (progress.work, " tokens of work"),
            "max_evaluations": (progress.evaluations, " evaluations"),
            "max_requests": (progress.requests, " requests"),
            "max_written_tokens": (progress.written, " tokens written"),
        }
        for name, limit in self._begin.budgets.items():
            value, unit = amounts[name]
            used.append(f"{value:.0f}/{limit:g}{unit}")
        self._live.update(
            self._task,
            description=f"{text}  {', '.join(used)}",
            total=self._begin.max_steps,
            completed=progress.steps,
        )

    def _left(self, progress: SearchProgress) -> str:
        """The time until the last step, at the pace of this session."""
        assert self._begin is not None
        made = progress.steps - self._begin.progress.steps
        each = (time.monotonic() - self._started) / max(1, made)
        minutes, seconds = divmod(round(each * (self._begin.max_steps - progress.steps)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _console() -> Console:
    """The screen, or a file that takes the place of one."""
    if sys.stdout is None:  # closed by the caller
        return Console(file=io.StringIO())
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")  # Prompts may hold what the screen cannot show.
    # Without a terminal rich would wrap at 80 columns and cut prompts in the middle.
    width = None if sys.stdout.isatty() else 10_000
    return Console(highlight=False, width=width, markup=True)


def marked(before: str, after: str) -> str:
    """``after`` as markup, in which the words that ``before`` did not have are marked."""
    parts = []
    for old, new in word_changes(before.strip(), after.strip()):
        text = escape(one_line(new))
        parts.append(f"[reverse]{text}[/]" if old != new and text else text)
    return "".join(parts)


def _text(prompt: str) -> str:
    """A prompt as markup, in one line."""
    return escape(one_line(prompt.strip()))


def _placed(result: dict[str, Any]) -> str:
    """A result's prompt with the connector, or with the name of another template than usual."""
    template = result.get("template", END)
    if template == END:
        return _text((result["connector"] + result["prompt"]).strip(". "))
    return f"{_text(result['prompt'])} ({short_name(template)})"


def _tried(record: dict[str, Any]) -> str:
    """A tried prompt's label and objective; of one that was given up, what that is above."""
    label = record["label"]
    short = repr(label if len(label) <= LABEL else f"{label[: LABEL - 3]}...")
    return f"{escape(short)} {'>' if record['capped'] else ''}{record['objective']:.3f}"


def _named_by(origin: dict[str, Any]) -> str:
    if origin["kind"] == "log":
        return f"{origin['log']}, {origin['prompt']}"
    return str(origin.get("name", "--prompt"))


def _numbers(record: dict[str, Any]) -> str:
    found = f"objective {record['objective']:.3f}"
    return found if record["mistakes"] is None else f"{found}  mistakes {record['mistakes']:.0%}"


def _cost(ledger: dict[str, Any]) -> str:
    tokens = ledger["tokens"]
    return (
        f"the search took {ledger['seconds']:.0f} s, {ledger['evaluations']} reasonings and "
        f"{tokens.get('decoded', 0)} decoded tokens" + _apart(ledger.get("apart"))
    )


def _apart(ledger: dict[str, Any] | None) -> str:
    """What was spent that the search does not count."""
    if ledger is None:
        return ""
    requests = f" and {ledger['requests']} requests" if "requests" in ledger else ""
    return f"; apart from it {ledger['evaluations']} reasonings{requests}"


def _accuracies(test: dict[str, Any]) -> Grid:
    rows = test["initial"]["strict"]["n"]
    # Without the outer padding it fits 80 columns.
    grid = Grid(title=f"held-out accuracy, {rows} test rows, 95 % interval", pad_edge=False)
    for column in ("reading", "initial, %", "best, %", "difference, points"):
        grid.add_column(column, no_wrap=True)
    for metric in test["difference"]:
        grid.add_row(escape(metric.replace("_", " ")), *_pair(test, metric))
    return grid


def _by_group(test: dict[str, Any]) -> Grid:
    metric = metric_of(test["best"])
    grid = Grid(title=f"the same by group, {escape(metric.replace('_', ' '))}")
    for column in ("group", "rows", "initial, %", "best, %", "difference, points"):
        grid.add_column(column, no_wrap=True)
    for group, difference in test["difference_by_group"].items():
        pair = {key: test[key]["by_group"][group] for key in ("initial", "best")}
        cells = _pair({**pair, "difference": difference}, metric)
        grid.add_row(escape(group), str(difference[metric]["n"]), *cells)
    return grid


def _contenders(test: dict[str, Any]) -> Grid:
    """What a method measures beside what was elected, on each group of rows and on all."""
    metric = metric_of(test["best"])
    grid = Grid(title=f"contenders, {escape(metric.replace('_', ' '))}")
    for column in ("contender", "group", "right, %", "to initial, points"):
        grid.add_column(column, no_wrap=True)
    for name, record in {"initial": test["initial"], **test["contenders"]}.items():
        changes = {**record.get("difference_by_group", {}), "all": record.get("difference")}
        for group, found in {**record.get("by_group", {}), "all": record}.items():
            own = changes.get(group)
            change = _interval(own[metric], signed=True) if own else ""
            grid.add_row(escape(name), escape(group), _interval(found[metric]), change)
    return grid


def _leads(test: dict[str, Any]) -> Grid:
    """What was elected, less each contender on the same rows."""
    metric = metric_of(test["best"])
    grid = Grid(title="elected, less each contender")
    for column in ("contender", "difference, points"):
        grid.add_column(column, no_wrap=True)
    for name, record in test["contenders"].items():
        grid.add_row(escape(name), _interval(record["to_best"][metric], signed=True))
    return grid


def _shifts(lines: Sequence[Shift]) -> Grid:
    """What prompts lose on the source's rows and gain on the target's."""
    grid = Grid(title="paired differences, points", pad_edge=False)
    for column in ("prompt", "against", "source loss", "target gain"):
        grid.add_column(column, no_wrap=column != "prompt")
    for each in lines:
        pair = [_interval(asdict(part), signed=True) for part in (each.loss, each.gain)]
        grid.add_row(escape(each.prompt), escape(each.against), *pair)
    return grid


def _pair(found: dict[str, Any], metric: str) -> list[str]:
    """The cells of the initial and the best prompt, and of what is between them."""
    return [
        _interval(found["initial"][metric]),
        _interval(found["best"][metric]),
        _interval(found["difference"][metric], signed=True),
    ]


def _interval(estimate: dict[str, Any], signed: bool = False) -> str:
    form = "{:+.1f}" if signed else "{:.1f}"
    value, low, high = (form.format(100 * estimate[key]) for key in ("value", "low", "high"))
    return f"{value} \\[{low}, {high}]"
