"""What is asked: questions with their answers, and perhaps the prompt to begin with."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, overload

from prompt_optimization.errors import InputError, reworded
from prompt_optimization.tasks.cells import is_blank, text_of
from prompt_optimization.tasks.entries import Entries, rows_of_entries
from prompt_optimization.tasks.examples import Columns, Example, Source, read_examples, rows_of

KEYS = ("id", "question", "prompt", "answer")


@dataclass(frozen=True, kw_only=True)
class Row(Example):
    """One entry; ``row`` counts from 0 in the data set it was read into, for messages."""

    id: str
    prompt: str | None

    def as_dict(self) -> dict[str, Any]:
        """As it was given: with a prompt, a weight and a group only where it has one."""
        prompt = {} if self.prompt is None else {"prompt": self.prompt}
        question, answer, *more = self.content
        return {"id": self.id, "question": question, **prompt, "answer": answer, **dict(*more)}


class GreaterDataSet(Sequence[dict[str, Any]]):
    """Questions, prompts and answers, from a file or from a list.

    It has a length, gives its entries as dicts with the keys ``id``, ``question``, ``prompt`` and
    ``answer``, and a slice of it is a data set again. It is read by the same rules as the harness's
    task files, but questions keep the white space around them, because results are looked up by
    question. A warning names whatever is read in another way than it stands there (an answer
    taken from a solution, a passage put before the question).
    """

    def __init__(
        self,
        data_path: str | Path | None = None,
        custom_inputs: Entries | None = None,
        *,
        question_column: str | Sequence[str] = (),
        answer_column: str | Sequence[str] = (),
    ) -> None:
        """
        Args:
            data_path: a ``.jsonl`` file of objects with ``question``, ``answer``, and perhaps
                ``prompt`` and ``id``; the other kinds of task files are read too, and data sets on
                a hub. More columns are passed over.
            custom_inputs: the same as dicts, without other keys, or as a data frame.
            question_column, answer_column: columns with other names; see docs/data.md.

        Raises:
            InputError: both or neither were given, the file cannot be read, or an entry lacks
                something or has it misspelt.
        """
        if (data_path is None) == (custom_inputs is None):
            raise InputError(
                "a data set is made from one of data_path and custom_inputs; give one of them"
            )
        columns = Columns.of(question_column, answer_column)
        with reworded(lambda key: key.removeprefix("task.")):
            if custom_inputs is not None:
                rows = rows_of_entries(custom_inputs, "custom_inputs", KEYS, columns)
                self.rows = _rows(rows, Source("custom_inputs", unit="entry"), columns)
            elif isinstance(data_path, str | Path):
                file = rows_of(data_path)
                self.rows = _rows(file.cells, Source(f"'{file.path}'"), columns, file.notes)
            else:
                raise InputError(f"data_path is a {type(data_path).__name__}; give a file's path")

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> GreaterDataSet: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | GreaterDataSet:
        if isinstance(index, slice):
            part = GreaterDataSet.__new__(type(self))
            part.rows = self.rows[index]
            return part
        return self.rows[index].as_dict()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (row.as_dict() for row in self.rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} entries)"


# The name that the toolkit gave it later.
GreaterDataloader = GreaterDataSet


def _rows(
    entries: Sequence[Mapping[str, object]], source: Source, columns: Columns, *said: Iterable[str]
) -> tuple[Row, ...]:
    """Entries as they are asked; warns of what was read in another way than it stands there."""
    examples, notes = read_examples(entries, source, columns=columns)
    for note in chain(*said, notes):
        warnings.warn(note, stacklevel=3)
    return tuple(
        Row(
            id=str(entry.get("id", example.row)),
            prompt=_prompt(entry.get("prompt"), source.row(example.row)),
            **asdict(example),
        )
        for entry, example in zip(entries, examples, strict=True)
    )


def _prompt(cell: object, where: str) -> str | None:
    return None if is_blank(cell) else text_of(cell, f"'prompt' of {where}").strip()
