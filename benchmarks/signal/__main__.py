"""What predicts the effect of an edit? One position of a prompt, measured; or a report of several.

    python -m benchmarks.signal --plan
    python -m benchmarks.signal --data data/BBH/one_step_arithmetic.json --out signals \\
        --prompt "a short calculation with the numbers. Give only the number." --position 3
    python -m benchmarks.signal --report signals

A position is one JSON file in the folder ``--out``, written after every piece of work. The same
command continues it, also with more ``--truth-draws``. ``--seconds`` ends it between two pieces.
docs/signal.md says what the tables mean.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import time
from pathlib import Path

from rich.console import Console

from benchmarks.signal.edits import KINDS
from benchmarks.signal.measure import Position
from benchmarks.signal.record import load, open_record
from benchmarks.signal.report import print_plan, print_report
from benchmarks.workload import ROOT, command
from prompt_optimization.errors import InputError
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Engine
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.loading import load_model
from prompt_optimization.models.settings import BUNDLED_NAME, ModelSettings
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.tasks.examples import read_table
from prompt_optimization.tasks.registry import task_of


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.signal",
        description="What predicts the effect of an edit of a prompt?",
    )
    made.add_argument("--plan", action="store_true", help="print how many rows which spread takes")
    made.add_argument("--report", type=Path, metavar="FOLDER", help="print the tables of a folder")
    made.add_argument("--out", type=Path, default=Path("signals"), help="folder of the positions")
    made.add_argument("--model", default=BUNDLED_NAME)
    made.add_argument("--dtype", default="auto")
    made.add_argument("--device", default="auto")
    made.add_argument(
        "--data", type=Path, default=ROOT / "data" / "BBH" / "one_step_arithmetic.json"
    )
    made.add_argument("--extractor", help="default: the task's own")
    made.add_argument("--connector", default=". Use")
    made.add_argument("--prompt", help="the incumbent")
    made.add_argument("--edit", choices=KINDS, default="token")
    made.add_argument("--position", type=int, default=0, help="of the first token replaced")
    made.add_argument("--prompts", type=Path, help="with --edit prompt: a file of one a line")
    made.add_argument("--candidates", type=positive, default=8, help="edits at most")
    made.add_argument("--questions", type=positive, default=48, help="that the signals see")
    made.add_argument("--others", type=positive, default=48, help="that only the truth sees")
    made.add_argument("--draws", type=positive, default=4, help="reasonings a question")
    made.add_argument(
        "--truth-draws", type=positive, default=4, help="fresh ones a question and candidate"
    )
    made.add_argument("--new-tokens", type=positive, default=20)
    made.add_argument("--temperature", type=float, default=0.7, help="of the reasonings")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing later")
    return made


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def main() -> int:
    given = parser().parse_args()
    console = Console(highlight=False)
    if given.plan:
        print_plan(console)
        return 0
    if given.report:
        paths = sorted(given.report.glob("*.json"))
        if not paths:
            raise InputError(f"'{given.report}' holds no positions; measure one with --out")
        print_report(console, [load(path) for path in paths])
        return 0
    measure(given, console)
    return 0


def measure(given: argparse.Namespace, console: Console) -> None:
    """Measure or continue one position.

    Raises:
        InputError: what is given cannot be used.
    """
    started = time.monotonic()
    check(given)
    task = task_of(given.data.stem)
    extractor = given.extractor or (task and task.extractor("dollar"))
    if not extractor:
        raise InputError(
            f"the form of the answers of '{given.data}' is not known; give --extractor"
        )
    rows = read_table(given.data).examples
    needed = given.questions + given.others
    if len(rows) < needed:
        raise InputError(
            f"'{given.data}' has {len(rows)} rows, not the {needed} of --questions and --others "
            "together; ask for fewer"
        )
    prompt = Layout.normalise(given.prompt)
    settings = {
        "task": given.data.stem,
        "model": given.model,
        "dtype": given.dtype,
        "extractor": extractor,
        "connector": given.connector,
        "prompt": prompt,
        "edit": given.edit,
        "position": 0 if given.edit == "prompt" else given.position,
        "candidates": given.candidates,
        "questions": given.questions,
        "others": given.others,
        "draws": given.draws,
        "new_tokens": given.new_tokens,
        "temperature": given.temperature,
        "seed": given.seed,
    }
    path = given.out / f"{file_name(settings)}.json"
    record = open_record(path, settings)
    model, chat = load_model(ModelSettings(given.model, device=given.device, dtype=given.dtype))
    layout = PromptTemplate(extractor, given.connector, " ").layout(model.tokenizer, chat)
    same, other = (
        CachedExamples(model, layout, some, prompt)
        for some in (rows[: given.questions], rows[given.questions : needed])
    )
    position = Position(Engine(model), same, other, record, path, given.prompts)
    for name, work in position.work(given.truth_draws):
        if time.monotonic() - started > given.seconds:
            console.print(f"{record.name}: stopped before {name}; the same command continues")
            return
        begun = time.monotonic()
        work()
        console.print(f"{record.name}: {name}, {time.monotonic() - begun:.0f} s")
    console.print(f"{record.name}: finished; see --report {given.out}")


def check(given: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        InputError: it does not.
    """
    if not given.prompt or not given.prompt.strip():
        raise InputError("there is no prompt to edit; give --prompt, or --plan or --report")
    if (given.edit == "prompt") != bool(given.prompts):
        raise InputError("--edit prompt and --prompts go together; give both or neither")
    if given.draws < 2:
        raise InputError("--draws 1 leaves nothing to compare a reasoning with; give at least 2")
    if given.candidates < 2:
        raise InputError("--candidates 1 leaves nothing to rank; give at least 2")
    if given.questions < 2 or given.others < 2:
        raise InputError("one question has no noise to be told; give --questions and --others 2")
    if not given.temperature > 0:
        raise InputError(f"--temperature {given.temperature} draws nothing; give one above 0")


def file_name(settings: dict[str, object]) -> str:
    """Task, edit, position, and a digest of the prompt and the seed."""
    told = f"{settings['model']} {settings['prompt']} {settings['seed']}"
    digest = hashlib.sha256(told.encode()).hexdigest()[:6]
    task = re.sub(r"\W", "_", str(settings["task"]))
    return f"{task}-{settings['edit']}-{settings['position']}-{digest}"


if __name__ == "__main__":
    command(main)
