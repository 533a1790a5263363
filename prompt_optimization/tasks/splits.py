"""Cutting task files into splits that share no question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.table import Example, Table, question_key

SPLITS = ("train", "dev", "test")
# Rows of each that the paper took for most tasks.
USUAL = {"train": 50, "dev": 100, "test": 100}
# As a split's size: every row of the file that is its own.
ALL = -1


@dataclass(frozen=True)
class Splits:
    """Disjoint rows: ``train`` drives the search, ``dev`` chooses among its prompts, ``test``
    is looked at once, at the end."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]

    def named(self) -> dict[str, tuple[Example, ...]]:
        """Those that have rows, by name."""
        return {name: rows for name in SPLITS if (rows := getattr(self, name))}


def split_rows(
    train: Table,
    test: Table | None,
    *,
    dev: Table | None = None,
    offset: int,
    n_train: int,
    n_dev: int,
    n_test: int,
) -> Splits:
    """Cut train, dev and test out of one to three tables without sharing a question.

    Train takes ``n_train`` rows from ``offset`` on. Dev and test take the first rows of a table of
    their own, or else rows after those. A held-out question that also stands among the rows of a
    split before it is passed over; ``question_key`` says which questions are the same. Dev is the
    one split that may come out smaller than asked, down to one row: it only chooses between
    prompts, and some published tasks have 146 rows in all. ``ALL`` is a size for splits with
    tables of their own.

    Raises:
        InputError: a split is larger than the rows there are for it.
    """
    if n_train == ALL:  # one, so that an offset beyond the end is refused
        n_train = max(1, len(train.examples) - offset)
    wanted = offset + n_train
    if wanted > len(train.examples):
        raise InputError(
            f"'{train.path}' has {len(train.examples)} rows, but {n_train} training rows from row "
            f"{offset} were asked for; lower one of the two",
            key=("n_train_data", "data_offset"),
        )
    train_rows = train.examples[offset:wanted]
    rest = _without(train.examples[wanted:], train_rows)
    dev_pool = _without(dev.examples, train_rows) if dev else rest
    if n_dev == ALL:
        n_dev = max(1, len(dev_pool))
    if dev is None and (test is None or test.sha256 == train.sha256):
        source, pool = train, rest
        n_dev = min(n_dev, max(1, len(pool) - n_test)) if n_dev else 0
        # A question that comes again after dev is lost to test.
        while n_dev > 1 and len(_without(pool[n_dev:], pool[:n_dev])) < n_test:
            n_dev -= 1
        dev_rows, test_pool = pool[:n_dev], pool[n_dev:]
    else:
        source, test_pool = (test, test.examples) if test else (train, rest)
        dev_rows = dev_pool[:n_dev]
    test_pool = _without(test_pool, (*train_rows, *dev_rows))
    if n_dev and not dev_rows:
        raise InputError(
            f"'{(dev or train).path}' has no rows left for the dev split after {n_train} training "
            f"rows from row {offset}; train on fewer, or set the dev rows to 0",
            key=("n_train_data", "n_dev_data"),
        )
    if n_test == ALL:
        n_test = max(1, len(test_pool))
    if len(test_pool) < n_test:
        raise InputError(
            f"'{source.path}' has {len(test_pool)} rows left for testing that the search does not "
            f"see, but {n_test} were asked for; test on fewer",
            key="n_test_data",
        )
    return Splits(train=train_rows, dev=dev_rows, test=test_pool[:n_test])


def usual_sizes(
    train: Table, dev: Table | None, test: Table | None, offset: int, wanted: Mapping[str, int]
) -> dict[str, int]:
    """Sizes of splits where none are given: train takes a third of the rows, and dev and test
    halve the rest. None gets more than ``USUAL``. A split with a table of its own takes what there
    is.

    Args:
        wanted: by split; -1 where no size is given.

    Raises:
        InputError: there are fewer than three questions to divide.
    """
    pool = train.examples[offset:]
    own = {"dev": dev, "test": test}
    cut = [name for name, table in own.items() if table is None and wanted[name]]
    questions = len({question_key(example.question) for example in pool})
    if questions <= len(cut):
        raise InputError(
            f"'{train.path}' asks {questions} different questions from row {offset} on, too few "
            f"to train and for {' and '.join(cut) or 'anything'}; give more rows",
            key="train_data",
        )
    sizes = dict(wanted)
    # Those that share the questions which splits of a given size leave.
    free = [name for name in ("train", *cut) if wanted[name] < 0]
    fixed = sum(wanted[name] for name in ("train", *cut) if wanted[name] > 0)
    share = max(1, (questions - fixed) // max(1, len(free)))
    if "train" in free:
        sizes["train"] = min(USUAL["train"], share)
    seen = pool[: sizes["train"]]
    for name, table in own.items():
        left = _without(train.examples[offset:] if table is None else table.examples, seen)
        if wanted[name] < 0:
            among = len(left)
            if name == "dev" and table is None and "test" in cut:
                among = len(left) // 2 if "test" in free else len(left) - wanted["test"]
            sizes[name] = max(1, min(USUAL[name], among))
        seen = (*seen, *left[: sizes[name]])
    return sizes


def repeated(examples: Sequence[Example], splits: Splits, name: str) -> int:
    """How many of ``examples`` ask what a split before ``name`` asks."""
    before = [row for each in SPLITS[: SPLITS.index(name)] for row in getattr(splits, each)]
    return len(examples) - len(_without(tuple(examples), tuple(before)))


def _without(examples: tuple[Example, ...], others: tuple[Example, ...]) -> tuple[Example, ...]:
    """``examples`` whose question none of ``others`` asks."""
    seen = {question_key(example.question) for example in others}
    return tuple(example for example in examples if question_key(example.question) not in seen)


def check_disjoint(splits: Mapping[str, Sequence[Example]], entry: str = "row") -> None:
    """Numbers on questions that the search has seen are worth nothing.

    Args:
        splits: by name, as the user calls them.
        entry: what the user calls a row.

    Raises:
        InputError: two splits ask the same; ``question_key`` says what is the same.
    """
    seen: dict[str, str] = {}
    for name, examples in splits.items():
        own = {}
        for example in examples:
            key, where = question_key(example.question), f"{entry} {example.row} of {name}"
            if key in seen:
                raise InputError(
                    f"{where} asks the same as {seen[key]}; leave it out of one of them"
                )
            own[key] = where
        seen |= own
