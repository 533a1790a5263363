"""What is asked: questions with their answers, and perhaps the prompt to begin with."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from prompt_optimization.errors import InputError, nearest
from prompt_optimization.tasks.examples import ANSWER_COLUMNS, QUESTION_COLUMNS, read_rows

KEYS = ("id", "question", "prompt", "answer")


@dataclass(frozen=True)
class Row:
    """One entry; ``number`` counts from 0 in the data set it was read into, for messages."""

    id: str
    question: str
    prompt: str | None
    answer: str
    number: int

    def as_dict(self) -> dict[str, str]:
        """As it was given: with a prompt only where it has one."""
        prompt = {} if self.prompt is None else {"prompt": self.prompt}
        return {"id": self.id, "question": self.question, **prompt, "answer": self.answer}


class GreaterDataSet(Sequence[dict[str, str]]):
    """Questions, prompts and answers, from a file or from a list.

    It has a length, gives its entries as dicts with the keys ``id``, ``question``, ``prompt`` and
    ``answer``, and a slice of it is a data set again. Questions and answers stand as they were
    given; only what surrounds a prompt or an answer is stripped.
    """

    def __init__(
        self,
        data_path: str | Path | None = None,
        custom_inputs: Iterable[Mapping[str, object]] | None = None,
    ) -> None:
        """
        Args:
            data_path: a ``.jsonl`` file of objects with ``question``, ``answer``, and perhaps
                ``prompt`` and ``id``; the other forms of task files are read too. More keys are
                passed over.
            custom_inputs: the same as dicts, without other keys.

        Raises:
            InputError: both or neither were given, the file cannot be read, or an entry lacks
                something or has it misspelt.
        """
        if (data_path is None) == (custom_inputs is None):
            raise InputError(
                "a data set is made from one of data_path and custom_inputs; give one of them"
            )
        entries: Sequence[Mapping[str, object]]
        if data_path is not None:
            path = Path(data_path).expanduser()
            entries, _ = read_rows(path)
            self.rows = tuple(_row(f"'{path}'", i, entry) for i, entry in enumerate(entries))
        else:
            if isinstance(custom_inputs, str | Mapping) or not isinstance(custom_inputs, Iterable):
                raise InputError(
                    f"custom_inputs is a {type(custom_inputs).__name__}; give a list of dicts"
                )
            entries = [_entry(number, entry) for number, entry in enumerate(custom_inputs)]
            self.rows = tuple(_row("custom_inputs", i, entry) for i, entry in enumerate(entries))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> GreaterDataSet: ...
    def __getitem__(self, index: int | slice) -> dict[str, str] | GreaterDataSet:
        if isinstance(index, slice):
            part = GreaterDataSet.__new__(type(self))
            part.rows = self.rows[index]
            return part
        return self.rows[index].as_dict()

    def __iter__(self) -> Iterator[dict[str, str]]:
        return (row.as_dict() for row in self.rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} entries)"

    @property
    def sha256(self) -> str:
        """A hash of all entries, in their order."""
        return hashlib.sha256(json.dumps([row.as_dict() for row in self.rows]).encode()).hexdigest()


# The name that the toolkit gave it later.
GreaterDataloader = GreaterDataSet


def _entry(number: int, entry: Any) -> dict[str, object]:
    """A dict, or what has items like one, such as a row of a data frame."""
    if not hasattr(entry, "items"):
        raise InputError(
            f"entry {number} of custom_inputs is a {type(entry).__name__}; give a dict with "
            "question, prompt and answer"
        )
    found = dict(entry.items())
    known = (*KEYS, *QUESTION_COLUMNS, *ANSWER_COLUMNS)
    for key in found:
        if key not in known:
            raise InputError(
                f"entry {number} of custom_inputs has the unknown key '{key}'; did you mean "
                f"'{nearest(str(key), KEYS)}'?"
            )
    return found


def _row(place: str, number: int, entry: Mapping[str, object]) -> Row:
    prompt = None
    if not _is_missing(entry.get("prompt")):
        prompt = _text(place, number, entry, ("prompt",), "prompt").strip()
    return Row(
        id=str(entry.get("id", number)),
        # As it stands: white space counts in code, and results are looked up by it.
        question=_text(place, number, entry, ("question", *QUESTION_COLUMNS), "question"),
        prompt=prompt,
        answer=_text(place, number, entry, ("answer", *ANSWER_COLUMNS), "answer").strip(),
        number=number,
    )


def _is_missing(value: object) -> bool:
    """An empty cell of a data frame is NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(
    place: str, number: int, entry: Mapping[str, object], names: Sequence[str], what: str
) -> str:
    name = next((name for name in names if name in entry), None)
    if name is None:
        raise InputError(
            f"entry {number} of {place} has no '{what}', only "
            f"{', '.join(map(str, entry)) or 'nothing'}; add it"
        )
    value = entry[name]
    is_text = isinstance(value, str | numbers.Real) and not isinstance(value, bool)
    if not is_text or _is_missing(value):
        raise InputError(
            f"'{name}' of entry {number} of {place} is {value!r}; write it as a string"
        )
    if not str(value).strip():
        raise InputError(f"'{name}' of entry {number} of {place} is empty; fill it in")
    return str(value)
