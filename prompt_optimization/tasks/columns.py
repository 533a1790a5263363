"""Which columns of a table hold the questions and the answers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.cells import Repeated, is_blank, is_missing, shown, text_of
from prompt_optimization.tasks.references import are_solutions, is_long, reference_answers
from prompt_optimization.tasks.table import Example, Source, question_key

# The first that a row has counts.
QUESTION_COLUMNS = ("question", "goal", "instruction", "input")
ANSWER_COLUMNS = ("final_answer", "answer", "final_target", "target", "output")
# Names that are read so where a table has none of those.
GUESSED = {
    "question": ("problem", "query", "text", "sentence"),
    "answer": ("label", "solution", "response"),
}
# What a question is about; put before it, with an empty line between.
CONTEXT_COLUMNS = ("context", "passage", "premises", "body", "input")

# The options of a question are short, and yet nothing can be answered without them.
_OPTIONS = ("choices", "options")
# How much a row counts, and what results are shown by.
WEIGHT, GROUP = "weight", "group"
# Among weights that are further apart, one row would be all that counts.
WEIGHTS = (1e-6, 1e6)
# The library's own.
_KNOWN = ("id", "prompt")
# A further reference: the name of the answer's column and a number.
FURTHER = re.compile(rf"({'|'.join(ANSWER_COLUMNS)})_(\d+)")

Row = Mapping[str, object]


@dataclass(frozen=True)
class Columns:
    """The columns that the user names; where there are none, their names decide.

    Attributes:
        question: the last is asked, with what stands in the others before it.
        answer: the first is the answer, and the others hold further ones.
    """

    question: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()

    @classmethod
    def of(cls, question: str | Sequence[str], answer: str | Sequence[str]) -> Columns:
        """Of names that may be given one by itself."""
        given = (question, answer)
        return cls(*((names,) if isinstance(names, str) else tuple(names) for names in given))


BY_NAME = Columns()


@dataclass(frozen=True)
class _Meant:
    """The columns of one table.

    Attributes:
        question, answer: of those that a row has, the first counts.
        before: what is put before the question.
        further: what holds further answers; None where that is said by the answer's name and a
            number.
    """

    question: Sequence[str]
    answer: Sequence[str]
    before: Sequence[str]
    further: Sequence[str] | None


def column_name(name: object) -> str:
    """A column's name without the differences that mean nothing: case, and spaces around it."""
    return str(name).strip().casefold()


def row_of(cells: Iterable[tuple[object, object]]) -> dict[str, object]:
    """A row by the names of its columns; a name that comes again with another cell is kept so."""
    row: dict[str, object] = {}
    for header, value in cells:
        name = column_name(header)
        again = name in row and row[name] != value
        row[name] = Repeated(row[name], value) if again else value
    return row


def read_examples(
    rows: Sequence[Row],
    source: Source,
    unlabelled: bool = False,
    columns: Columns = BY_NAME,
    texts_are_meant: bool = False,
) -> tuple[list[Example], list[str]]:
    """The question and the reference answers of every row, and notes for whoever gave them.

    Of several answer columns the first of ``ANSWER_COLUMNS`` counts, but a column of whole
    solutions gives way to another one. Questions keep the white space around them.

    Args:
        unlabelled: rows without an answer are read too.
        columns: those that hold questions and answers, where their names do not say it.
        texts_are_meant: answers are meant to be whole texts.

    Raises:
        InputError: there is no column of a name that ``columns`` gives, a row lacks a question or
            an answer, or they cannot be read.
    """
    meant, guessed = _meant(rows, source, columns)
    questions: list[str] = []
    answers: list[list[str]] = []
    used: list[tuple[str, str]] = []
    others: dict[str, None] = {}
    contexts: dict[str, None] = {}
    for number, row in enumerate(rows):
        where = source.row(number)
        asked = _chosen(row, meant.question, "question", where)
        if unlabelled:
            answered = next((n for n in meant.answer if not is_blank(row.get(n))), "")
        else:
            answered = _chosen(row, meant.answer, "answer", where)
        passages = _passages(row, meant.before, asked, where)
        contexts |= dict.fromkeys(passages)
        question = text_of(row[asked], f"'{asked}' of {where}")
        # Some files repeat the passage in the question itself.
        before = [passage for passage in passages.values() if passage not in question]
        questions.append("\n\n".join([*before, question]))
        further = _further(row, answered, meant.further) if answered else []
        others |= dict.fromkeys(further)
        answers.append(_answers(row, [answered, *further], where) if answered else [])
        used.append((asked, answered))
    references, notes = reference_answers(answers, source, texts_are_meant)
    weights, groups = _weights(rows, source), _groups(rows, source)
    examples = [
        Example(question, "".join(own[:1]), number, own[1:], weight, group)
        for number, (question, own, weight, group) in enumerate(
            zip(questions, references, weights, groups, strict=True)
        )
    ]
    notes = [
        *guessed,
        *(f"column '{name}' of {source.name} is put before the question" for name in contexts),
        *_special(rows, source),
        *_unused(rows, used, [*contexts, *others, WEIGHT, GROUP], source),
        *notes,
        *_conflicts(examples, source),
    ]
    return examples, notes


def _meant(rows: Sequence[Row], source: Source, columns: Columns) -> tuple[_Meant, list[str]]:
    """The columns that hold what is asked, and notes on those whose name had to be guessed.

    Raises:
        InputError: there is no column of a name that is given.
    """
    present = dict.fromkeys(name for row in rows for name in row)
    given = {
        what: tuple(map(column_name, getattr(columns, what))) for what in ("question", "answer")
    }
    for what, names in given.items():
        if lacking := [name for name in names if name not in present]:
            raise InputError(
                f"{source.name} has no column '{lacking[0]}', only {', '.join(present)[:200]}; "
                "name one of these",
                key=f"task.{what}_column",
            )
    usual = {"question": QUESTION_COLUMNS, "answer": _in_order(rows)}
    found, notes = {}, []
    for what, known in usual.items():
        guess = next((name for name in GUESSED[what] if name in present), None)
        if given[what] or guess is None or {*known} & {*present}:
            found[what] = known
            continue
        found[what] = (guess,)
        notes.append(
            f"column '{guess}' of {source.name} is read as the {what}; where that is wrong, name "
            f"another one by {what}_column"
        )
    asked, answered = given["question"], given["answer"]
    context = [name for name in CONTEXT_COLUMNS if name not in (*asked, *answered)]
    return _Meant(
        question=asked[-1:] or found["question"],
        answer=answered[:1] or found["answer"],
        before=(*asked[:-1], *context),
        further=answered[1:] if answered else None,
    ), notes


def _in_order(rows: Sequence[Row]) -> list[str]:
    """The usual answer columns, those of whole solutions last."""
    cells = {
        name: [cell for row in rows for cell in _listed(row.get(name))] for name in ANSWER_COLUMNS
    }
    return sorted(ANSWER_COLUMNS, key=lambda name: are_solutions(cells[name]))


def _chosen(row: Row, names: Sequence[str], what: str, where: str) -> str:
    """The first of ``names`` that the row has, if possible with something in it."""
    present = [name for name in names if name in row]
    if not present:
        others = ", ".join(row)[:200] or "nothing"
        raise InputError(
            f"{where} has no '{what}', only {others}; call its column {_one_of(names)}, or name it",
            key=f"task.{what}_column",
        )
    return next((name for name in present if not is_missing(row[name])), present[0])


def _one_of(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}" if len(names) > 1 else f"'{names[0]}'"


def _listed(cell: object) -> list[object]:
    return cell if isinstance(cell, list) else [cell]


def _further(row: Row, answered: str, named: Sequence[str] | None) -> list[str]:
    """The columns of further references beside the column ``answered``, in their order."""
    if named is not None:
        return [name for name in named if name in row]
    found = [(int(match[2]), name) for name in row if (match := FURTHER.fullmatch(name))]
    return [name for _, name in sorted(found) if name.startswith(f"{answered}_")]


def _answers(row: Row, names: Sequence[str], where: str) -> list[str]:
    """The references of a row: its answer or a list of answers, and what stands in the further
    columns, where something does."""
    first, *further = names
    cells = [(first, cell) for cell in _listed(row[first])]
    if not cells:
        raise InputError(f"'{first}' of {where} is an empty list; fill it in")
    cells += [(name, row[name]) for name in further if not is_blank(row[name])]
    return [text_of(cell, f"'{name}' of {where}") for name, cell in cells]


def _weights(rows: Sequence[Row], source: Source) -> list[float]:
    """How much each row counts; 1 where it does not say.

    Raises:
        InputError: a row's weight is no number in ``WEIGHTS``.
    """
    found = []
    for number, row in enumerate(rows):
        if is_blank(cell := row.get(WEIGHT)):
            found.append(1.0)
            continue
        what = f"'{WEIGHT}' of {source.row(number)}"
        text = text_of(cell, what)
        try:
            weight = float(text)
        except ValueError:
            weight = math.nan
        low, high = WEIGHTS
        if not low <= weight <= high:
            raise InputError(
                f"{what} is {shown(text)}, not a number from {low:g} to {high:g}; correct it, "
                "leave the row out, or give the column another name"
            )
        found.append(weight)
    return found


def _groups(rows: Sequence[Row], source: Source) -> list[str]:
    """The group of each row; empty without a column for it.

    Raises:
        InputError: a row has none and others have one.
    """
    if not any(GROUP in row for row in rows):
        return [""] * len(rows)
    return [
        text_of(row.get(GROUP), f"'{GROUP}' of {source.row(number)}").strip()
        for number, row in enumerate(rows)
    ]


def _special(rows: Sequence[Row], source: Source) -> list[str]:
    """Notes on columns that change the results and may not have been meant to."""
    meanings = {
        WEIGHT: "says how much each row counts in a mean",
        GROUP: "names the groups that results are shown by",
    }
    return [
        f"column '{name}' of {source.name} {meaning}"
        for name, meaning in meanings.items()
        if any(name in row for row in rows)
    ]


def _passages(row: Row, names: Sequence[str], asked: str, where: str) -> dict[str, str]:
    """What stands in the row's columns ``names``: texts, or lists of texts, a line each."""
    found = {}
    for name in names:
        cell = row.get(name)
        if name == asked or is_blank(cell) or cell == []:
            continue  # not every question needs one
        lines = (text_of(line, f"'{name}' of {where}") for line in _listed(cell))
        found[name] = "\n".join(lines).strip()
    return found


def _unused(
    rows: Sequence[Row], used: Sequence[tuple[str, str]], others: Iterable[str], source: Source
) -> list[str]:
    """Notes on columns that might have been meant and are not used.

    Args:
        used: per row, the columns of its question and its answer.
        others: further columns that are used.
    """
    taken = {*(name for names in used for name in names), *others, *_KNOWN}
    notes = []
    for name in dict.fromkeys(name for row in rows for name in row):
        if name in taken:
            continue
        cells = [row.get(name) for row in rows]
        if name in QUESTION_COLUMNS or name in ANSWER_COLUMNS:
            place = 0 if name in QUESTION_COLUMNS else 1
            instead = {
                names[place]: None
                for row, names, cell in zip(rows, used, cells, strict=True)
                if not is_blank(cell) and cell != row[names[place]]
            }
            # The published form holds a solution beside its answer.
            if instead and (name, *instead) != ("target", "final_target"):
                other = next(iter(instead))
                notes.append(f"column '{name}' of {source.name} is not used, because '{other}' is")
        elif name in _OPTIONS or _are_long(cells):
            notes.append(
                f"column '{name}' of {source.name} is not used; write into the question what "
                "belongs to it"
            )
    return notes


def _are_long(cells: Sequence[object]) -> bool:
    return sum(isinstance(cell, str) and is_long(cell) for cell in cells) * 2 > len(cells)


def _conflicts(examples: Sequence[Example], source: Source) -> list[str]:
    """A note on rows that ask the same and have other answers."""
    first: dict[str, Example] = {}
    pairs = []
    for example in examples:
        before = first.setdefault(question_key(example.question), example)
        labelled = before.labelled and example.labelled
        if labelled and not {*before.references} & {*example.references}:
            pairs.append((before, example))
    if not pairs:
        return []
    before, after = pairs[0]
    more = f" (and {len(pairs) - 1} more like it)" if len(pairs) > 1 else ""
    return [
        f"{source.row(after.row)} asks the same as {source.unit} {before.row}, but is answered "
        f"{shown(after.answer)} and not {shown(before.answer)}{more}; leave one of them out"
    ]
