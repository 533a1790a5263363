"""Are two mathematical expressions equal? math-verify compares them; here is what it is given."""

from __future__ import annotations

import logging
import re
import threading
from functools import lru_cache
from typing import Any

from prompt_optimization.extras import require_package
from prompt_optimization.tasks.metrics.metric import Metric, best
from prompt_optimization.tasks.reading.quantities import quantity_of
from prompt_optimization.tasks.reading.spelling import canonical, plain

# For reading one expression and for comparing two.
SECONDS = 5

_DELIMITED = re.compile(r"\$|\\\(|\\\[|\\boxed")
_WORD = re.compile(r"(?<![\\\w])[^\W\d_]{2,}")


def math() -> Metric:
    """Fractions, percent, LaTeX, sets and equations, by what they mean.

    Raises:
        InputError: the package that compares them is missing.
    """
    require_package("the metric 'math'", "math", "math_verify", key="metric")
    from math_verify import verify

    # It would say each time that there is no time limit.
    logging.getLogger("math_verify").setLevel(logging.ERROR)

    def equal(text: str, reference: str) -> bool:
        return bool(verify(_expressions(reference), _expressions(text), timeout_seconds=_limit()))

    def demand(reference: str) -> str | None:
        return None if equal(reference, reference) else "is no mathematical expression"

    return Metric("math", best(equal), demand=demand)


@lru_cache(maxsize=4096)
def _expressions(text: str) -> list[Any]:
    """What math-verify reads in ``text``: its last or its boxed expression."""
    from math_verify import parse

    found: list[Any] = parse(_delimited(text), parsing_timeout=_limit())
    return found


def _delimited(text: str) -> str:
    """``text`` with dollars around it where all of it is mathematics.

    An extractor may end in the dollar that opens the answer; the first one in the text then closes
    it. A number is given by its value, because math-verify reads 1 2/3 as a product.
    """
    line = text.strip().removesuffix(".")
    opened = line.partition("$")[0] if line.count("$") % 2 else ""
    if opened and not _WORD.search(opened):
        line = opened
    if quantity := quantity_of(plain(canonical(line))):
        return f"${quantity.value}$"
    return text if _DELIMITED.search(line) or _WORD.search(line) else f"${line}$"


def _limit() -> int | None:
    """Seconds; math-verify keeps them by a signal, which only the main thread gets."""
    return SECONDS if threading.current_thread() is threading.main_thread() else None
