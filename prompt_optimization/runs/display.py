"""The run on the screen: live in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table as Grid
from transformers import PreTrainedTokenizerBase

from prompt_optimization.optimizers.greater.state import PHASES, Scored, Step
from prompt_optimization.runs.evaluation import METRICS, HeldOut


class Display:
    """Shows what a run does. Silent but for warnings and the result when not ``verbose``."""

    def __init__(self, verbose: bool = True, console: Console | None = None) -> None:
        # Without a terminal rich would wrap at 80 columns and cut prompts in the middle.
        terminal = sys.stdout.isatty()
        self.console = console or Console(
            highlight=False, width=None if terminal else 10_000, markup=True
        )
        self.verbose = verbose
        self._steps = 0
        self._before = 0
        self._started = time.monotonic()
        self._progress: Progress | None = None
        self._task: Any = None

    def warn(self, text: str) -> None:
        self.console.print(f"[yellow]warning:[/] {escape(text)}")

    def note(self, text: str) -> None:
        if self.verbose:
            self.console.print(f"[dim]{escape(text)}[/]")

    def begin(self, path: Path, steps: int, samples: int) -> None:
        self._steps = steps
        self._started = time.monotonic()
        self.note(f"{steps} steps on {samples} training samples; log: {path.resolve()}")
        if self.verbose and self.console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
                console=self.console,
            )
            self._task = self._progress.add_task("reading questions", total=steps, left="")
            self._progress.start()

    def standing(self, incumbent: Scored, done: int) -> None:
        """Where the search begins, or goes on behind ``done`` steps."""
        self._before = done
        if self.verbose:
            name = f"{done:>4}/{self._steps}" if done else "initial"
            self.console.print(
                f"[bold]{name}[/]  {_numbers(incumbent)}  {escape(incumbent.text.strip())}"
            )
        self._show(f"step {done + 1}", done)

    def step(self, step: Step, best: Scored, tokenizer: PreTrainedTokenizerBase) -> None:
        if not self.verbose:
            return
        seconds = " ".join(
            f"{phase} {step.seconds.get(phase, 0):.1f}s"
            for phase in PHASES
            if step.seconds.get(phase, 0) >= 0.05
        )
        verdict = "[green]taken[/]" if step.accepted else "[dim]kept [/]"
        tried = ", ".join(
            f"{escape(repr(tokenizer.decode([c.token])))} "
            f"{'>' if c.scored.evaluation.capped else ''}{c.scored.evaluation.objective:.3f}"
            for c in step.candidates
        )
        done = step.index + 1
        self.console.print(
            f"[bold]{done:>4}/{self._steps}[/]  {verdict}  {_numbers(step.incumbent)}  "
            f"{_marked(step, tokenizer)}"
        )
        self.console.print(
            f"[dim]           at {step.position}: tried {tried or 'nothing'} | {seconds} | "
            f"{self._left(done)} left[/]"
        )
        for event in step.events:
            self.console.print(f"[cyan]           {escape(event)}[/]")
        self._show(f"best {best.evaluation.objective:.3f}", done)

    def searched(self, reason: str | None = None) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        if reason:
            self.note(f"search ended: {reason}")

    def evaluating(self, split: str, prompts: int, rows: int) -> None:
        self.note(f"{split}: {prompts} prompts on {rows} rows the search has not seen")

    def evaluated(self, result: HeldOut) -> None:
        self.evaluated_text(result.prompt, result.accuracy["strict"].value)

    def evaluated_text(self, prompt: str, accuracy: float) -> None:
        if self.verbose:
            self.console.print(f"  {100 * accuracy:5.1f} % right  {escape(prompt.strip())}")

    def results(self, results: Sequence[dict[str, Any]], path: Path) -> None:
        """Everything that an evaluation's file holds, shown whether verbose or not."""
        grid = Grid(title="strict accuracy in %, with 95 % interval")
        for column in ("task", "split", "rows", "named by", "accuracy", "prompt"):
            grid.add_column(column, overflow="fold")
        for result in results:
            origin = result["origin"]
            grid.add_row(
                escape(result["task"]),
                result["split"],
                str(result["strict"]["n"]),
                escape(_named_by(origin)),
                _interval(result["strict"]),
                escape((result["connector"] + result["prompt"]).strip(". ")),
            )
        self.console.print(grid)
        self.console.print(f"evaluation: {escape(str(path.resolve()))}")

    def end(self, initial: Scored, best: Scored, evaluation: dict[str, Any], path: Path) -> None:
        """The result, shown whether verbose or not."""
        test = evaluation["test"]
        self.console.print()
        self.console.print(f"[bold]initial prompt[/]  {escape(initial.text.strip())}")
        self.console.print(f"[bold]best prompt[/]     {escape(best.text.strip())}")
        if best.samples == initial.samples:
            elected = ", of the prompt that was elected on dev" if evaluation["dev"] else ""
            self.console.print(
                f"training objective on {initial.samples} samples: "
                f"{initial.evaluation.objective:.3f} -> {best.evaluation.objective:.3f}{elected}"
            )
        if test is not None:
            grid = Grid(
                title=f"held-out accuracy, {test['initial']['strict']['n']} test rows, "
                "95 % interval"
            )
            for column in ("reading", "initial", "best", "difference"):
                grid.add_column(column, no_wrap=True)
            for metric in METRICS:
                grid.add_row(
                    metric.replace("_", " "),
                    _interval(test["initial"][metric]),
                    _interval(test["best"][metric]),
                    _interval(test["difference"][metric], signed=True),
                )
            self.console.print(grid)
        self.console.print(f"log: {escape(str(path.resolve()))}")

    def close(self) -> None:
        """Give the terminal back, whatever happened."""
        self.searched()

    def _show(self, text: str, done: int) -> None:
        if self._progress is not None:
            left = f"{self._left(done)} left" if done > self._before else ""
            self._progress.update(self._task, description=text, completed=done, left=left)

    def _left(self, done: int) -> str:
        each = (time.monotonic() - self._started) / (done - self._before)
        seconds = each * (self._steps - done)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _named_by(origin: dict[str, Any]) -> str:
    if origin["kind"] == "log":
        return f"{origin['log']}, {origin['prompt']}"
    return str(origin.get("name", "--prompt"))


def _numbers(scored: Scored) -> str:
    evaluation = scored.evaluation
    return f"objective {evaluation.objective:.3f}  mistakes {evaluation.mistakes:.0%}"


def _marked(step: Step, tokenizer: PreTrainedTokenizerBase) -> str:
    """The incumbent with the edited token marked when it has just been taken."""
    text = step.incumbent.text
    if not step.accepted:
        return escape(text.strip())
    ids = step.incumbent.ids
    before = tokenizer.decode(ids[: step.position], clean_up_tokenization_spaces=False)
    token = tokenizer.decode([ids[step.position]], clean_up_tokenization_spaces=False)
    at = text.find(token.strip(), max(0, len(before) - 1))
    if at < 0 or not token.strip():
        return escape(text.strip())
    end = at + len(token.strip())
    return f"{escape(text[:at].lstrip())}[reverse]{escape(text[at:end])}[/]{escape(text[end:])}"


def _interval(estimate: dict[str, Any], signed: bool = False) -> str:
    form = "{:+.1f}" if signed else "{:.1f}"
    value, low, high = (form.format(100 * estimate[key]) for key in ("value", "low", "high"))
    return f"{value} % [{low}, {high}]".replace("[", "\\[")
