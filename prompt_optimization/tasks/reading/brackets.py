"""Which brackets does a text begin with?"""

from __future__ import annotations

import re

from prompt_optimization.tasks.reading.endings import is_offered, lengthened
from prompt_optimization.tasks.reading.phrases import statements
from prompt_optimization.tasks.reading.spelling import in_word, plain

BRACKETS = "()[]{}<>"

_RUN = re.compile(rf"(?:[\s,'\"`]*[{re.escape(BRACKETS)}])*")
_END = re.compile(r"\$|\*\*|\n|\.\s")


def brackets_of(text: str) -> str | None:
    """The brackets that the whole of ``text`` is, without spaces; None for anything else."""
    found = text.replace(" ", "")
    return found if found and found.strip(BRACKETS) == "" else None


def states_brackets(text: str, expected: str) -> bool:
    """Whether a statement in a canonical ``text`` begins with ``expected`` and no more brackets,
    whatever stands between and around them."""
    for statement in statements(text, in_brackets=False):
        shown = plain(statement.split("\n\n")[0])
        run = _RUN.match(shown)
        assert run is not None
        found = "".join(character for character in run[0] if character in BRACKETS)
        at = run.end()
        rest = _END.split(shown[at:], maxsplit=1)[0]
        if (
            found == expected
            and not in_word(shown[at : at + 1])
            and not any(character in BRACKETS for character in rest)
            and not (lengthened(shown, at) or is_offered(shown, at))
        ):
            return True
    return False
