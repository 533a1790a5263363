"""LaTeX as models write it, in plain characters."""

from __future__ import annotations

import re

_SYMBOLS = {
    "times": "\u00d7",
    "cdot": "\u00b7",
    "div": "\u00f7",
    "pm": "\u00b1",
    "le": "\u2264",
    "leq": "\u2264",
    "ge": "\u2265",
    "geq": "\u2265",
    "ne": "\u2260",
    "neq": "\u2260",
    "approx": "\u2248",
    "sqrt": "\u221a",
    "infty": "\u221e",
    "circ": "\u00b0",
    "degree": "\u00b0",
    "wedge": "\u2227",
    "land": "\u2227",
    "vee": "\u2228",
    "lor": "\u2228",
    "neg": "\u00ac",
    "lnot": "\u00ac",
    "to": "\u2192",
    "rightarrow": "\u2192",
    "ldots": "...",
    "dots": "...",
    "quad": " ",
    "qquad": " ",
    "left": "",
    "right": "",
    "displaystyle": "",
}
_COMMAND = re.compile(rf"\\({'|'.join(sorted(_SYMBOLS, key=len, reverse=True))})(?![A-Za-z])")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|(\d)\s*(\d))")
_WRAPPER = re.compile(r"\\(?:boxed|fbox|text|textbf|textit|mathrm|mathbf|mathit|mbox)\s*\{")
_GROUP_MARK = re.compile(r"(?<=\d)(?:\{,\}|\\,|\\!,|,\\!)(?=\d)")
_DELIMITER = re.compile(r"\\[()\[\]]")
_SPACING = re.compile(r"\\[,;:! ]")
_ESCAPED = re.compile(r"\\([$%&#_{}])")
_RAISED = re.compile(r"\^\s*\{([^{}]*)\}")


def without_latex(text: str) -> str:
    """``text`` with LaTeX's commands as the characters they print.

    Fractions become ``a/b``, with brackets around what is more than a number. What encloses text
    (``\\boxed``, ``\\text``) goes, mathematics is delimited by ``$``.
    """
    if "\\" not in text and "{" not in text:
        return text
    text = _GROUP_MARK.sub(",", text)
    text = _RAISED.sub(r"^\1", text)
    text = _unwrapped(text)
    text = _FRACTION.sub(_divided, text)
    text = _COMMAND.sub(lambda found: _SYMBOLS[found[1]], text)
    text = _SPACING.sub(" ", _DELIMITER.sub("$", text))
    return _ESCAPED.sub(r"\1", text).replace("^\u00b0", "\u00b0")


def closing_brace(text: str, start: int) -> int | None:
    """Where the brace that was opened just before ``start`` is closed; None where it is not."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
    return None


def _unwrapped(text: str) -> str:
    while found := _WRAPPER.search(text):
        before, inner, after = text[: found.start()], text[found.end() :], ""
        end = closing_brace(text, found.end())
        if end is not None:
            inner, after = text[found.end() : end], text[end + 1 :]
        # ``5\text{kg}`` is no word.
        parts = [before, inner, after]
        for left, right in ((0, 1), (1, 2)):
            if parts[left][-1:].isalnum() and parts[right][:1].isalnum():
                parts[left] += " "
        text = "".join(parts)
    return text


def _divided(found: re.Match[str]) -> str:
    above, below = (found[1] or found[3] or "").strip(), (found[2] or found[4] or "").strip()
    parts = [part if re.fullmatch(r"\d+", part) else f"({part})" for part in (above, below)]
    return "/".join(parts)
