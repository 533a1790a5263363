"""Settings as rows that stand beside the code that reads them.

A group of settings is a frozen dataclass whose fields are made by ``key``::

    @dataclass(frozen=True)
    class StopSettings(Settings, group="stop"):
        max_seconds: float = key(0.0, "seconds spent in the search; 0 is no limit", low=0.0)

A row says everything there is to say of a setting: default, meaning, range, source, the flat name
that published commands use, and what may differ between two runs that are compared. The config, the
checks, the help, the options page, the resume rule and the names in reports all come from the rows.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar, get_type_hints

import numpy as np

from prompt_optimization.errors import InputError, check_characters

KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    tuple: "a list",
    dict: "a dict",
}


@dataclass(frozen=True)
class Key:
    """One setting.

    Attributes:
        name: what logs, flags and messages call it: the flat name that published commands use, or
            ``group.attribute``.
        group, attribute: where it stands in the config.
        kind: of its values: bool, int, float, str, tuple or dict.
        item: the kind of a list's items.
        default: its value unless one is given.
        meaning: what it does, in a sentence.
        low, above, high: its smallest value, a value that it exceeds, and its largest value.
        limit: it is a limit; 0 and infinity set none.
        choices: its values, where they can be listed.
        source: of the default: ``paper``, ``code`` (the authors' released scripts), ``llm-attacks``
            or ``measured`` (docs/lab_notes.md); otherwise it is our own choice.
        library: what the library calls it; empty where it is called the same.
        aliases: further flat names, which published commands use.
        spellings: how published commands spell some values.
        by_behaviour: the value that each behaviour of a method sets where none is given.
        by_variant: the value that a variant of a method sets in its place.
        formerly: its value in logs from before there was the key, where that is not the default.
        by_method: where none is given, a method may bring its own (``Settings.defaults``).
        by_task: the same for a task that is known by its file's name (``Task.defaults``); it counts
            more than the method's.
        free: a resumed run may change it.
        variant: two searches that differ in it are different variants in a report.
        named: words of a report for values that make a variant of their own.
        of_task: a log brings it along when its prompts are evaluated.
        reading: accuracies that differ in it are not compared.
    """

    name: str
    group: str
    attribute: str
    kind: type
    default: Any
    meaning: str
    low: float | None = None
    above: float | None = None
    high: float | None = None
    limit: bool = False
    choices: tuple[str, ...] = ()
    source: str = ""
    library: str = ""
    aliases: tuple[str, ...] = ()
    spellings: Mapping[str, str] = field(default_factory=dict)
    by_behaviour: Mapping[str, Any] = field(default_factory=dict)
    by_variant: Mapping[str, Any] = field(default_factory=dict)
    formerly: Any = None
    by_method: bool = False
    by_task: bool = False
    free: bool = False
    variant: bool = True
    named: Mapping[Any, str] = field(default_factory=dict)
    of_task: bool = False
    reading: bool = False
    item: type | None = None

    @property
    def path(self) -> str:
        """The key inside its group."""
        return f"{self.group}.{self.attribute}"

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that it is called."""
        return tuple(dict.fromkeys((self.name, self.path, *self.aliases)))

    @property
    def unset(self) -> Any:
        """What a config holds where nothing is given."""
        return None if self.by_method or self.by_task else self.default

    @property
    def untold(self) -> Any:
        """Its value in a log that is older than the key."""
        return self.default if self.formerly is None else self.formerly

    def check(self, value: Any) -> Any:
        """``value`` as a plain one of the key's kind.

        Raises:
            InputError: it has another type, is out of range or no choice.
        """
        if value is None and self.by_behaviour:
            return None
        if self.limit and _plain(value, float) == math.inf:
            return self.kind(0)
        plain = self._of_kind(value, self.kind)
        if self.kind is str:
            plain = self.spellings.get(plain, plain)
        if self.item is not None:
            plain = tuple(self._of_kind(each, self.item) for each in plain)
        for text in _texts(plain):
            check_characters(text, self.name, self.name)
        if self.choices and plain not in self.choices:
            choices = ", ".join(choice or "''" for choice in self.choices)
            raise InputError(f"'{plain}' is unknown; choose one of {choices}", key=self.name)
        if self.kind in (int, float):
            self._check_range(plain)
        return plain

    def _of_kind(self, value: Any, kind: type) -> Any:
        plain = _plain(value, kind)
        if plain is None:
            raise InputError(f"{value!r} is not {KINDS[kind]}; give one", key=self.name)
        return plain

    def _check_range(self, value: float) -> None:
        if math.isnan(value):
            raise InputError("nan is not a number; give one", key=self.name)
        if self.low is not None and value < self.low:
            raise InputError(f"{value} is too small; give at least {self.low:g}", key=self.name)
        if self.above is not None and value <= self.above:
            raise InputError(
                f"{value} is too small; give a value above {self.above:g}", key=self.name
            )
        if self.high is not None and value > self.high:
            raise InputError(f"{value} is too large; give at most {self.high:g}", key=self.name)
        if math.isinf(value):
            raise InputError(f"{value} is not finite; give a finite number", key=self.name)


def key(default: Any, meaning: str, *, flat: str = "", **row: Any) -> Any:
    """A field of a group of settings.

    Args:
        flat: the flat name of published commands.
        row: further attributes of ``Key``.
    """
    metadata = {"flat": flat, "row": {"meaning": meaning, **row}}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


S = TypeVar("S", bound="Settings")


class Settings:
    """Base class of groups; derived classes are frozen dataclasses.

    Attributes:
        defaults: of a method, for keys of other groups that are ``by_method``, by name.
        writes: the method asks a writer.
        unlabelled: the method takes training rows without answers.
        takes_masked: the method can search with models that fill a mask and write nothing.
        objectives: what it can minimise.
        elsewhere: names of flags and of published code that are no settings, each with what to do
            in its place.
    """

    group: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]] = {}
    writes: ClassVar[bool] = False
    unlabelled: ClassVar[bool] = False
    takes_masked: ClassVar[bool] = False
    objectives: ClassVar[tuple[str, ...]] = ("mistakes", "loss", "answers")
    elsewhere: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, group: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if group:
            cls.group = group

    @classmethod
    def rows(cls) -> tuple[Key, ...]:
        """The rows of this group, in their order."""
        hints = get_type_hints(cls)
        return tuple(
            Key(
                name=each.metadata["flat"] or f"{cls.group}.{each.name}",
                group=cls.group,
                attribute=each.name,
                kind=_kind(hints[each.name]),
                item=_item(hints[each.name]),
                default=_default(each),
                **each.metadata["row"],
            )
            for each in fields(cls)  # type: ignore[arg-type]
        )

    @classmethod
    def of(cls: type[S], values: Mapping[str, Any]) -> S:
        """The group with those of ``values``, by name, that belong to it.

        Raises:
            InputError: a value cannot be used.
        """
        rows = cls.rows()
        found = {each.attribute: each.check(values[each.name]) for each in rows}
        # The group's own, or that of the method.
        behaviour = found.get("behaviour", values.get("behaviour", "sound"))
        for each in rows:
            if found[each.attribute] is None and each.by_behaviour:
                own = each.by_behaviour[behaviour]
                found[each.attribute] = each.by_variant.get(found.get("variant", ""), own)
        made = cls(**found)
        made.check()
        return made

    @classmethod
    def default(cls: type[S], **changes: Any) -> S:
        """The group with its defaults but for ``changes``, by attribute.

        Raises:
            InputError: a value cannot be used.
        """
        values = {each.name: changes.pop(each.attribute, each.default) for each in cls.rows()}
        assert not changes, f"{cls.group} has no {', '.join(changes)}"
        return cls.of(values)

    def check(self) -> None:
        """Refuse values that do not go together.

        Raises:
            InputError: some do not.
        """

    @classmethod
    def brings(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a file that one of ``values`` names says of other keys, for those that are not
        given.

        Raises:
            InputError: the file cannot be read.
        """
        return {}

    def check_server(self, role: str) -> None:
        """Refuse values that a server cannot serve.

        Args:
            role: of the model behind it: ``writer`` or ``judge``.

        Raises:
            InputError: some are.
        """

    def check_masked(self) -> None:
        """Refuse values that do not go with masked models.

        Raises:
            InputError: some do not.
        """

    def check_without_extractor(self) -> None:
        """Refuse values that need the loss of the answers, which stand after an extractor.

        Raises:
            InputError: some do.
        """

    def check_examples(self, examples: Sequence[Any]) -> None:
        """Refuse values that do not go with the training examples.

        Raises:
            InputError: some do not.
        """

    def values(self) -> dict[str, Any]:
        """Every value by its key's name."""
        return {each.name: getattr(self, each.attribute) for each in self.rows()}

    @property
    def fixed(self) -> frozenset[str]:
        """Keys of other groups that a resumed run may not change under these settings."""
        return frozenset()

    @property
    def reads_answers(self) -> bool:
        """Whether the method calls ``Scorer.transcripts``, so that every row has to write its
        answer."""
        return False

    @property
    def judges(self) -> bool:
        """Whether the method, which asks a writer, asks a judge too."""
        return False

    @property
    def embeds(self) -> bool:
        """Whether the method compares texts by a sentence encoder."""
        return False

    @property
    def margins(self) -> bool:
        """Whether the method needs the outcomes' margins."""
        return False

    @property
    def warnings(self) -> list[str]:
        """What the user should know of values that have no effect."""
        return []

    def idle(self, why: str, *names: str) -> list[str]:
        """Warnings of those of ``names``, by attribute, that are not at their defaults.

        Args:
            why: they have no effect, such as ``without writer.base_url``.
        """
        rows = {each.attribute: each for each in self.rows()}
        return [
            f"{rows[name].name} has no effect {why}"
            for name in names
            if getattr(self, name) != rows[name].default
        ]


def unique(groups: Iterable[type[Settings]]) -> dict[str, Key]:
    """All rows of ``groups`` by name."""
    found: dict[str, Key] = {}
    taken: set[str] = set()
    for group in dict.fromkeys(groups):
        for each in group.rows():
            assert not taken.intersection(each.names), f"two settings are called {each.name}"
            taken.update(each.names)
            found[each.name] = each
    return found


def _kind(hint: Any) -> type:
    """The plain type of an annotation such as ``tuple[str, ...]`` or ``str | None``."""
    alternatives = [part for part in getattr(hint, "__args__", ()) if part is not type(None)]
    if hint in KINDS:
        return hint  # type: ignore[no-any-return]
    origin = getattr(hint, "__origin__", None)
    if origin in KINDS:
        return origin  # type: ignore[no-any-return]
    (only,) = alternatives
    return _kind(only)


def _item(hint: Any) -> type | None:
    """The plain type of the items of an annotation such as ``tuple[dict[str, Any], ...]``."""
    return _kind(hint.__args__[0]) if getattr(hint, "__origin__", None) is tuple else None


def _texts(value: Any) -> Iterator[str]:
    """Every text within ``value``."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, Sequence):
        for each in value:
            yield from _texts(each)


def _default(each: Any) -> Any:
    made = each.default_factory
    return made() if callable(made) else each.default


def _plain(value: Any, kind: type) -> Any:
    """``value`` as ``kind``; None where it is something else."""
    flag = isinstance(value, bool | np.bool_)
    if kind is bool:
        return bool(value) if flag else None
    if kind is int:
        return int(value) if isinstance(value, numbers.Integral) and not flag else None
    if kind is float:
        return float(value) if isinstance(value, numbers.Real) and not flag else None
    if kind is str:
        return value if isinstance(value, str) else None
    if kind is dict:
        return dict(value) if isinstance(value, Mapping) else None
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(value) if listed else None
