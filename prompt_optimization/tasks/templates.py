"""Where prompt and question stand: a chat with the slots ``{prompt}`` and ``{question}``.

The prompt may stand several times, as in solved questions before the one that is asked.

A template is the name of a preset, or a chat as JSON text: a list of turns with role and content.
Whatever a file or a list holds becomes such a text, so that a log tells all of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from prompt_optimization.errors import InputError, did_you_mean
from prompt_optimization.paths import user_path

ROLES = ("system", "user", "assistant")
SLOTS = ("prompt", "question")

# Between a text that may end in punctuation and the next one. Tokenizers on the pattern of Llama-3
# join punctuation to a line break that follows it, but not across a space.
PARAGRAPH = " \n\n"

# Where the prompt may stand. ``end`` is the paper's. ``begin``, ``before`` and ``answer`` are
# Q_begin, before_Q and A_begin of OPRO's code; the last two mark the question.
PRESETS: dict[str, tuple[tuple[str, str], ...]] = {
    "end": (("user", "{question}{connector} {prompt}"),),
    "begin": (("user", "{prompt} {question}"),),
    "before": (("user", "{prompt}" + PARAGRAPH + "Question: {question}"),),
    "system": (("system", "{prompt}"), ("user", "{question}")),
    "answer": (("user", "Q: {question}\nA: {prompt}"),),
}
END = "end"

# The same with marks where the question begins and the answer follows, as OPRO's and GPO's code
# writes them on request.
MARKED: dict[str, tuple[tuple[str, str], ...]] = {
    "end": (("user", "Q: {question}{connector} {prompt} \nA:"),),
    "begin": (("user", "Q: {prompt} {question}\nA:"),),
    "before": (("user", "{prompt} \nQ: {question}\nA:"),),
    "system": (("system", "{prompt}"), ("user", "Q: {question}\nA:")),
    "answer": PRESETS["answer"],
}

# What the paper and the published library write between question and prompt.
CONNECTORS = (". Use", ".")

_SLOT = re.compile(r"\{(prompt|question)\}")


@dataclass(frozen=True)
class Turn:
    """What one side of a chat says; ``content`` may hold slots."""

    role: str
    content: str


Turns = tuple[Turn, ...]


def turns_of(template: str, connector: str) -> Turns:
    """The chat that a resolved ``template`` means.

    Args:
        connector: what stands between question and prompt under ``end``, and nowhere else.
    """
    if template in PRESETS:
        return _preset(PRESETS[template], connector)
    return tuple(Turn(**turn) for turn in json.loads(template))


def marked(template: str, connector: str) -> str:
    """A resolved ``template`` with "Q:" and "A:" around its question, as JSON text.

    Args:
        connector: as ``turns_of`` takes it.

    Raises:
        InputError: it is no preset.
    """
    if template not in MARKED:
        raise InputError(
            "a template of your own has its own words around the question; write Q: and A: into "
            "it, or name a preset",
            key=("task.include_qa", "template"),
        )
    return _text(_preset(MARKED[template], connector))


def with_solved(template: str, connector: str, solved: Sequence[tuple[str, str]]) -> str:
    """A resolved ``template`` in which the questions of ``solved`` are asked first, as JSON text:
    each in the turns that hold the question, the prompt too where it stands there, and with its
    answer as what the model has replied.

    Args:
        connector: as ``turns_of`` takes it.
        solved: pairs of question and answer.
    """
    turns = turns_of(template, connector)
    start = next(i for i, turn in enumerate(turns) if "question" in slots_of(turn.content))
    asked = turns[start:]
    made = list(turns[:start])
    for question, answer in solved:
        made += [
            Turn(turn.role, turn.content.replace("{question}", question)) for turn in asked
        ] + [Turn("assistant", answer)]
    return _text((*made, *asked))


def slots_of(content: str) -> list[str]:
    """The names of the slots in a turn's ``content``, in order."""
    return _SLOT.findall(content)


def resolved(template: str) -> str:
    """``template`` as logs hold it: a preset's name, or a chat as JSON text.

    Args:
        template: a preset's name, a file, or a chat as JSON text. A file holds such a chat, or else
            the text of a single user turn.

    Raises:
        InputError: it is none of them, or no template.
    """
    if template in PRESETS:
        return template
    text, where = template.strip(), "the template"
    if not text:
        raise InputError(
            f"the template is empty; choose one of {', '.join(PRESETS)}, or give a file",
            key="template",
        )
    if not text.startswith("["):
        path = user_path(template)
        text, where = _read(path).strip(), f"template '{path}'"
        if not text.startswith("["):
            text = json.dumps([{"role": "user", "content": text}])
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"{where} begins with '[' and is no JSON list ({error}); give a list of objects with "
            "role and content",
            key="template",
        ) from None
    turns = tuple(_turn(each, f"turn {number} of {where}") for number, each in enumerate(given, 1))
    _check(turns, where)
    return _text(turns)


def short_name(template: str) -> str:
    """What a resolved ``template`` is called in tables: a preset's name, or else a hash's
    beginning."""
    return template if template in PRESETS else hashlib.sha256(template.encode()).hexdigest()[:6]


def as_text(template: object) -> object:
    """A list of turns, each a mapping or a pair of role and text, as JSON text; anything else as it
    is."""
    if isinstance(template, str) or not isinstance(template, Sequence):
        return template
    return json.dumps(
        [
            dict(turn)
            if isinstance(turn, Mapping)
            else dict(zip(("role", "content"), turn, strict=False))
            if isinstance(turn, tuple | list)
            else turn
            for turn in template
        ],
        default=repr,
    )


def filled(turns: Turns, **texts: str) -> Turns:
    """``turns`` with ``texts`` in their slots."""
    return tuple(
        Turn(turn.role, _SLOT.sub(lambda slot: texts[slot[1]], turn.content)) for turn in turns
    )


def folded(turns: Turns) -> Turns:
    """``turns`` with the system turn at the beginning of the user turn that follows it."""
    system, user, *rest = turns
    return Turn(user.role, system.content + PARAGRAPH + user.content), *rest


def _preset(turns: tuple[tuple[str, str], ...], connector: str) -> Turns:
    return tuple(Turn(role, content.replace("{connector}", connector)) for role, content in turns)


def _text(turns: Turns) -> str:
    return json.dumps([asdict(turn) for turn in turns], ensure_ascii=False)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        near = did_you_mean(str(path), PRESETS)
        raise InputError(
            f"template '{path}' is no preset and cannot be read as a file ({error.strerror}); "
            f"{near}",
            key="template",
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"template '{path}' is not UTF-8 text (byte {error.start}); save it as UTF-8",
            key="template",
        ) from None


def _turn(given: object, where: str) -> Turn:
    if not isinstance(given, dict) or set(given) != {"role", "content"}:
        raise InputError(
            f"{where} is {json.dumps(given)[:60]}; give an object with 'role' and 'content'",
            key="template",
        )
    role, content = given["role"], given["content"]
    if role not in ROLES:
        raise InputError(
            f"{where} has the role {json.dumps(role)}; choose one of {', '.join(ROLES)}",
            key="template",
        )
    if not isinstance(content, str) or not content.strip():
        raise InputError(
            f"{where} has the content {json.dumps(content)[:60]}; give a text", key="template"
        )
    return Turn(role, content)


def _check(turns: Turns, where: str) -> None:
    """Refuse what leaves open where prompt and question stand, or what is answered."""

    def refusal(problem: str) -> InputError:
        return InputError(f"{where} {problem}", key="template")

    found = [slot for turn in turns for slot in slots_of(turn.content)]
    for slot in SLOTS:
        if slot not in found:
            raise refusal(f"has no slot {{{slot}}}; write it where the {slot} is to stand")
    if (times := found.count("question")) > 1:
        raise refusal(
            f"has the slot {{question}} {times} times; write it once, where the question is to "
            "stand"
        )
    if turns[-1].role != "user":
        raise refusal("ends with a turn that is not the user's; let the user speak last")
    for turn in turns[1:]:
        if turn.role == "system":
            raise refusal("has a system turn after its beginning; let it stand first, once")
    for turn in turns:
        for found_at in _SLOT.finditer(turn.content):
            start, end = found_at.span()
            around = turn.content[:start][-1:] + turn.content[end:][:1]
            if any(map(_is_spelt, around)) or _SLOT.match(turn.content, end):
                glued = turn.content[max(0, start - 1) : end + 1]
                raise refusal(
                    f"has the slot {found_at[0]} within a word ('{glued}'); put a space between "
                    "them"
                )


def _is_spelt(character: str) -> bool:
    """Whether it belongs to a word of a script that puts spaces between words."""
    return character.isdecimal() or character.lower() != character.upper()
