"""Who reads a written answer as right: our readings beside those of others, on answers of a model.

    greater evaluate --config=embedded --prompt="..." --config.result_prefix=outputs/object_counting
    python -m benchmarks.readings outputs

Every ``*.outputs.jsonl`` below the folder is read. Compared are the strict and the flexible reading
of today's code and as they were recorded, the recorded teacher forcing, the filters of
lm-evaluation-harness in words of our own, and math-verify where it is installed
(``pip install math-verify==0.9.0``). For every reader a table counts the answers on which it and
the flexible reading disagree, by the shape of the answer, with an example: who is right is for a
person to say.

The harness' filters, as its tasks describe them:

* strict, numbers: the digits, points and commas after ``#### `` (gsm8k's strict-match), here put
  before the answer; other forms: what follows "The answer is " on its line but for the last
  character (BBH). Equal to the reference to the letter, commas and dollars apart.
* flexible: the last thing in the answer that looks like a number (gsm8k's flexible-extract), like
  an option in brackets or else the text of one of the question's options, like a label, or like a
  run of brackets after a space; the words of the question's list in the order in which each is
  named last (BBH's); for other forms the first line.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.workload import command
from prompt_optimization.errors import InputError
from prompt_optimization.tasks.answers import flexible_match, strict_match
from prompt_optimization.tasks.reading.brackets import brackets_of
from prompt_optimization.tasks.reading.labels import label_set, letter_of
from prompt_optimization.tasks.reading.quantities import quantity_of

# (text, reference, question) -> whether the text is read as right.
Reader = Callable[[str, str, str], bool]

RECORDED = ("strict", "flexible", "teacher_forced")
_LOOKS_LIKE_A_NUMBER = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_OPTION = re.compile(r"\([A-Z]\)")
_OPTIONS = re.compile(r"\(([A-Z])\)([^\n(]*)")
_BRACKETS = re.compile(r"(?<= )[\" \[(<{}>)\]]+")


@dataclass(frozen=True)
class Answer:
    """One written answer and, by reader, whether it was read as right."""

    task: str
    text: str
    reference: str
    verdicts: dict[str, bool]

    @property
    def shape(self) -> str:
        """The beginning, with the reference, words and numbers each made alike."""
        line = self.text.strip().split("\n")[0][:60].replace(self.reference, "#", 1)
        return re.sub(r"[A-Za-z]{2,}( [A-Za-z]{2,})*", "w", re.sub(r"\d+", "9", line))[:24]


def harness_strict(text: str, reference: str) -> bool:
    """The harness' strict filters (see above), after the words that they look for."""
    if quantity_of(reference):
        found = re.match(r"-?[0-9.,]+", text.lstrip())
        return found is not None and _without_marks(found[0]) == _without_marks(reference)
    line = text.lstrip().split("\n")[0][:-1].strip()
    return line in (reference, f"({reference})")


def harness_flexible(text: str, reference: str, question: str = "") -> bool:
    """The harness' flexible filters (see above)."""
    if quantity_of(reference):
        numbers = _LOOKS_LIKE_A_NUMBER.findall(text)
        return bool(numbers) and _without_marks(numbers[-1]) == _without_marks(reference)
    if letter := letter_of(reference):
        options = _OPTION.findall(text) or _named_options(text, question)
        return bool(options) and options[-1] == f"({letter})"
    if labels := label_set(reference):
        words = [word for word in re.findall(r"\w+", text) if word.casefold() in labels]
        return bool(words) and words[-1] == reference
    if brackets_of(reference):
        runs = _BRACKETS.findall(text)
        return bool(runs) and runs[-1].strip() == reference
    if words := question.partition("List:")[2].split():
        named = re.findall("|".join(rf"\b{re.escape(word)}\b" for word in words), text)
        # The last mention of each counts.
        return " ".join(reversed(dict.fromkeys(reversed(named)))) == reference
    return text.strip().split("\n")[0].strip() == reference


def _named_options(text: str, question: str) -> list[str]:
    """The options of the question, as letters in brackets, whose texts stand in ``text``."""
    letters = {option.strip().lower(): letter for letter, option in _OPTIONS.findall(question)}
    if not letters:
        return []
    found = re.findall("|".join(map(re.escape, letters)), text.lower())
    return [f"({letters[option]})" for option in found]


def _without_marks(number: str) -> str:
    return re.sub(r"[,$]|\.$", "", number).casefold()


def math_verify() -> Reader | None:
    """math-verify's reader for numbers, letters and labels; None where it is not installed."""
    if importlib.util.find_spec("math_verify") is None:
        return None
    # By name, because it is none of our requirements.
    library = importlib.import_module("math_verify")
    numbers = [library.LatexExtractionConfig(), library.ExprExtractionConfig()]

    def right(text: str, reference: str, _: str) -> bool:
        labels = [*"ABCDEFGHIJK"] if letter_of(reference) else sorted(label_set(reference))
        strings = (*labels, *(label.capitalize() for label in labels))
        form = [library.StringExtractionConfig(strings=strings)] if labels else numbers
        wanted, found = (library.parse(each, form) for each in (reference, text))
        return bool(library.verify(wanted, found))

    return right


def read_answers(folder: Path, readers: dict[str, Reader]) -> list[Answer]:
    """Every answer in the outputs files below ``folder``, read by everybody.

    Raises:
        InputError: there is none, or a line is no output of an evaluation.
    """
    answers = []
    for path in sorted(folder.rglob("*.outputs.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                record = json.loads(line)
                text, reference = record["answer"], record["reference"]
                question = record["question"]
                verdicts = {f"recorded {name}": bool(record[name]) for name in RECORDED}
                task = record["task"]
            except (ValueError, LookupError, TypeError):
                raise InputError(
                    f"line {number} of '{path}' is no output of an evaluation; name a folder that "
                    "'greater evaluate' wrote into"
                ) from None
            verdicts |= {
                name: reader(text, reference, question) for name, reader in readers.items()
            }
            answers.append(Answer(task, text, reference, verdicts))
    if not answers:
        raise InputError(f"'{folder}' holds no *.outputs.jsonl; write some with 'greater evaluate'")
    return answers


def shares(answers: list[Answer]) -> Table:
    """Per task and reader the percentage of answers read as right."""
    names = list(answers[0].verdicts)
    table = Table("task", "answers", *names, title="read as right, %")
    by_task = defaultdict(list)
    for answer in answers:
        by_task[answer.task].append(answer)
    for task, rows in [*sorted(by_task.items()), ("all", answers)]:
        counts = (sum(row.verdicts[name] for row in rows) for name in names)
        table.add_row(task, str(len(rows)), *(f"{100 * count / len(rows):.1f}" for count in counts))
    return table


def disagreements(answers: list[Answer], name: str, most: int) -> Table:
    """The ``most`` frequent shapes of answers on which ``name`` and the flexible reading differ."""
    groups = defaultdict(list)
    for answer in answers:
        if answer.verdicts[name] != answer.verdicts["flexible"]:
            groups[answer.verdicts[name], answer.shape].append(answer)
    total = Counter({verdict: 0 for verdict in (True, False)})
    for (verdict, _), rows in groups.items():
        total[verdict] += len(rows)
    table = Table(
        *("answers", "right by", "reference", "example"),
        title=f"{name} alone: {total[True]}; flexible alone: {total[False]}",
    )
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))[:most]
    for (verdict, _), rows in largest:
        who = name if verdict else "flexible"
        example = rows[0]
        table.add_row(
            str(len(rows)), who, escape(example.reference), escape(repr(example.text[:70]))
        )
    return table


def main() -> int:
    made = argparse.ArgumentParser(description="Compare readings of written answers.")
    made.add_argument("folder", type=Path)
    made.add_argument("--most", type=int, default=12, help="shapes shown per reader")
    given = made.parse_args()
    readers: dict[str, Reader] = {
        "strict": lambda text, reference, _: strict_match(text, reference),
        "flexible": lambda text, reference, _: flexible_match(text, reference),
        "harness strict": lambda text, reference, _: harness_strict(text, reference),
        "harness flexible": harness_flexible,
    }
    console = Console(highlight=False, width=140)
    if verify := math_verify():
        readers["math-verify"] = verify
    else:
        console.print("math-verify is not installed: pip install math-verify==0.9.0 adds it")
    answers = read_answers(given.folder, readers)
    console.print(shares(answers))
    for name in answers[0].verdicts:
        if name != "flexible":
            console.print(disagreements(answers, name, given.most))
    return 0


if __name__ == "__main__":
    command(main)
