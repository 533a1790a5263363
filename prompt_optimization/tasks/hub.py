"""Rows of a data set on the Hugging Face Hub.

``hf:OWNER/NAME/CONFIG@SPLIT#REVISION`` names them. Config and split may be left out where there is
one choice, and the revision, a commit, a tag or a branch, where the newest is meant. A folder in
the place of OWNER/NAME, such as ``hf:./folder``, lies as the hub's repositories do.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.paths import user_path
from prompt_optimization.tasks.columns import row_of
from prompt_optimization.tasks.table import Rows

PREFIX = "hf:"
FORM = f"{PREFIX}OWNER/NAME/CONFIG@SPLIT#REVISION"

_NAME = re.compile(rf"{PREFIX}([^@#]+?|[./~][^#]*?)(?:@([^@/#]+))?(?:#([^#]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Where the rows are taken from when neither split nor config is given.
_SPLIT, _CONFIG = "train", "default"
# The builder of what was fetched once, where the hub cannot be reached.
_FETCHED = "datasets.packaged_modules.cache."


@dataclass(frozen=True)
class _Name:
    """What a name says; empty is what it does not say.

    Attributes:
        whole: the name.
        place: ``OWNER/NAME``, or a folder.
    """

    whole: str
    place: str
    config: str
    split: str
    revision: str

    @classmethod
    def of(cls, text: str) -> _Name:
        """The name that ``text`` is.

        Raises:
            InputError: it is none.
        """
        found = _NAME.fullmatch(text)
        place, split, revision = found.groups("") if found else ("", "", "")
        config = ""
        if place[:1] in tuple("./~"):
            folder = user_path(place)
            if not folder.is_dir():
                folder, config = folder.parent, folder.name
            if not folder.is_dir():
                raise InputError(f"data set '{text}' does not exist; give an existing folder")
            if revision:
                raise InputError(f"data set '{text}' is a folder, without revisions; leave out '#'")
            return cls(text, str(folder), config, split, revision)
        owner, *names = place.split("/")
        if len(names) not in (1, 2) or not all((owner, *names)):
            raise InputError(f"'{text}' names no data set; give {FORM}, or {PREFIX}OWNER/NAME")
        place = f"{owner}/{names[0]}"
        if Path(place).is_dir():
            # The package would take it in place of the hub's.
            raise InputError(
                f"'{text}' names a data set on the hub, and the folder '{place}' is here too; give "
                f"{PREFIX}./{place} for that one, or call the command from elsewhere"
            )
        return cls(text, place, "".join(names[1:]), split, revision)


def is_hub_name(data: str | Path) -> bool:
    """Whether ``data`` names a data set on the hub, and no file."""
    return str(data).startswith(PREFIX)


def stem_of(data: str | Path) -> str:
    """What a task is called after its data: the file's name without its ending, or the name and
    the config of a data set."""
    if not is_hub_name(data):
        return Path(data).stem
    place = re.split("[@#]", str(data).removeprefix(PREFIX))[0]
    local = place[:1] in tuple("./~")
    return Path(place).name if local else "_".join(place.split("/")[1:]) or place


def read_hub(text: str) -> Rows:
    """The rows of the data set that ``text`` names.

    No code of a data set's own is run.

    Raises:
        InputError: the name is none, the package is missing, or there is no such data set, config,
            split or revision, or it cannot be fetched.
    """
    name = _Name.of(text)
    require_package(f"data set '{text}'", "hub", "datasets")
    datasets = import_module("datasets")
    # A date beyond Python's is an OverflowError.
    failures = (OSError, ValueError, OverflowError, RuntimeError)
    try:
        builder = datasets.load_dataset_builder(
            name.place, name.config or None, revision=name.revision or None
        )
        _check_choice(name, builder)
        builder.download_and_prepare()
        splits = list(builder.info.splits)
        split = name.split or _usual_split(name, splits)
        cells, notes = _cells(builder.as_dataset(split), f"'{text}'")
    except (*failures, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, InputError):
            raise
        raise _refusal(name, error) from None
    if not cells:
        raise InputError(f"data set '{text}' holds no rows; give a split with at least one")
    others = [each for each in splits if each != split]
    if not name.split and others:
        notes.append(
            f"'{text}' is its split '{split}'; its others are {', '.join(others)}, as in "
            f"{_with_split(name, others[0])}"
        )
    commit = builder.hash if _COMMIT.fullmatch(str(builder.hash)) else ""
    return Rows(Path(text), cells, _sha256(cells), tuple(notes), commit)


def _check_choice(name: _Name, builder: Any) -> None:
    """What was opened must be what the name means.

    Raises:
        InputError: it has several configs and names none, or is of another revision.
    """
    configs = list(builder.builder_configs)
    if not name.config and len(configs) > 1 and _CONFIG not in configs:
        raise InputError(
            f"data set '{name.whole}' has the configs {', '.join(configs)[:200]}; name one, as in "
            f"{re.split('[@#]', name.whole)[0].rstrip('/')}/{configs[0]}"
        )
    # The package takes what it has of any revision where it cannot reach the hub.
    fetched = type(builder).__module__.startswith(_FETCHED)
    if name.revision and fetched and not str(builder.hash).startswith(name.revision):
        raise InputError(
            f"data set '{name.whole}' cannot be fetched, and another revision of it was fetched "
            f"before ({builder.hash}); check the revision and the network"
        )


def _usual_split(name: _Name, splits: list[str]) -> str:
    if _SPLIT in splits:
        return _SPLIT
    if len(splits) == 1:
        return splits[0]
    raise InputError(
        f"data set '{name.whole}' has the splits {', '.join(splits)}; name one, as in "
        f"{_with_split(name, splits[0])}"
    )


def _with_split(name: _Name, split: str) -> str:
    before, mark, revision = name.whole.partition("#")
    return f"{before}@{split}{mark}{revision}"


def _refusal(name: _Name, error: Exception) -> InputError:
    """The sentence for what the package raised."""
    what = f"data set '{name.whole}'"
    reason = " ".join(str(error).split()).rstrip(".")[:300]
    if isinstance(error, RuntimeError) and "scripts are no longer" in reason:
        return InputError(
            f"{what} is made by a script of its own, which is not run; give a data set of plain "
            "files, or the hub's conversion of it, if there is one, by the revision "
            "refs/convert/parquet"
        )
    if isinstance(error, ConnectionError):
        return InputError(
            f"{what} cannot be fetched ({reason}) and was not fetched before; check its name and "
            "the network, or give a file"
        )
    return InputError(f"{what} cannot be read ({reason}); check its name, config and split")


def _cells(data: Any, where: str) -> tuple[list[dict[str, object]], list[str]]:
    """The rows, with the names of classes in place of their numbers, and notes on that.

    Pictures and sounds stay as they are stored, because nothing reads them.
    """
    classes = {
        column: feature.names
        for column, feature in data.features.items()
        if type(feature).__name__ == "ClassLabel"
    }
    rows = data.data.to_pylist()
    for row in rows:
        for column, names in classes.items():
            number = row[column]
            # -1 stands for a label that is not published.
            row[column] = None if number is None or number < 0 else names[number]
    notes = [
        f"column '{column}' of {where} holds numbers of classes, which are read as their names "
        f"{', '.join(names)[:100]}"
        for column, names in classes.items()
    ]
    return [row_of(row.items()) for row in rows], notes


def _sha256(rows: Iterable[dict[str, object]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, default=str).encode() + b"\n")
    return digest.hexdigest()
