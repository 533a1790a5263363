"""Words that join, deny or scale what stands beside them, in the languages that models answer in.

All lists are in lower case; one pattern of them ignores case.
"""

# Characters that look alike are what this is about.
# ruff: noqa: RUF001

from __future__ import annotations

import re

from prompt_optimization.tasks.reading.spelling import UNSPACED

OR = frozenset(
    "or and/or nor vs versus oder ou o или либо або lub albo nebo sau eller tai vagy veya ή أو או "
    "या hoặc atau 或 或者 还是 還是 または 또는 혹은".split()
)
AND = frozenset("and und et y e и og och en ve és και و ו और và dan 和 与 及 と 및 그리고".split())
NOT = frozenset(
    "not non never neither nor no cannot without except unlike isn't aren't wasn't nicht kein "
    "keine pas ni ne не ни нет ikke inte niet geen لا ليس नहीं 不 不是 非 아니".split()
)
# How a sentence about the answer goes on; a word that is none of these makes the answer longer.
GOES_ON_ABOUT = frozenset(
    "is are was were be because since as which so therefore would will has seems must can cannot "
    "isn't wasn't aren't ist sind war weil denn da est sont car parce es son porque è sono perché "
    "é são pois это потому является 是 因为 因為 は です だ 입니다 है क्योंकि هو هي لأن".split()
)
IS = frozenset("is are was were be would will ist sind est sont es son è é 是".split())
WRONG = frozenset(
    "not never wrong incorrect false untrue impossible excluded out nicht falsch pas faux "
    "incorrecto falso sbagliato errado неверно не 错 不对".split()
)


def one_of(words: frozenset[str]) -> str:
    """A pattern for any of ``words`` as a word of its own."""
    spaced = [word for word in words if not _is_unspaced(word)]
    unspaced = sorted(words.difference(spaced), key=len, reverse=True)
    pattern = rf"(?<![\w'])(?:{'|'.join(map(re.escape, sorted(spaced)))})(?![\w'])"
    return f"(?:{'|'.join([pattern, *unspaced])})" if unspaced else pattern


def _is_unspaced(word: str) -> bool:
    return re.fullmatch(rf"[{UNSPACED}]+", word) is not None
