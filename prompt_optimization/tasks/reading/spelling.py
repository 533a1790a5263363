"""One text has several spellings: ``canonical`` undoes Unicode's, ``plain`` typesetters' too."""

from __future__ import annotations

import re
import unicodedata

from prompt_optimization.tasks.reading.latex import without_latex

# Soft hyphen, zero-width space, marks of direction, word joiner and invisible operators, byte order
# mark, variation selectors: none changes what is read. The joiners of Indic and Persian words do.
_INVISIBLE = dict.fromkeys(
    (
        *(0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0xFE0E, 0xFE0F, 0xFEFF),
        *(*range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A)),
    )
)
_JOINERS = ("\u200c", "\u200d")
_LINE_END = re.compile(r"\r\n?|[\v\f\x1c-\x1e\x85\u2028\u2029]")
_SPACE = re.compile(r"[^\S\n]")

_PUNCTUATION = str.maketrans(
    {
        # Dashes; the long ones are prose, unless a digit follows.
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\u02d7", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2039\u203a\u2032\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u300c\u300d\u300e\u300f", '"'),
        **dict.fromkeys("\u00d7\u2715\u2716\u2a2f", "\u00d7"),
        **dict.fromkeys("\u22c5\u2219\u00b7", "\u00b7"),
        **dict.fromkeys("\u2044\u2215", "/"),
        "\u2217": "*",
        "\u2236": ":",
        # Arabic, Chinese and Indic marks of numbers and sentences.
        "\u066a": "%",
        "\u066b": ".",
        "\u066c": ",",
        "\u060c": ",",
        "\u061b": ";",
        "\u061f": "?",
        "\u3001": ",",
        "\u3002": ".",
        "\u0964": ".",
        "\u06d4": ".",
    }
)
_MINUS = re.compile(r"(?<!\w)[\u2014\u2015](?=\s?[$€£¥]?\.?\d)")
_LONG_DASH = re.compile(r" ?[\u2014\u2015] ?")
_SPACES = re.compile(r" {2,}")
_EMPHASIS = re.compile(r"(?<![\w*])(\*\*|\*|__)(?=[^\s*_])([^*\n]*?[^\s*_])\1(?![\w*])")
_TAG = re.compile(r"</?[A-Za-z]\w*(?:\s[^<>\n]*=[^<>\n]*)?\s?/?>")

# Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean: letters that stand against words of others.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u9fff\uac00-\ud7ff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{UNSPACED}]")


def canonical(text: str) -> str:
    """The one spelling of a Unicode text: composed letters, plain spaces, no compatibility forms.

    As Unicode's NFKC (UAX 15), except where that would change what is written: ``12²`` becomes
    ``12^2``, ``x₁`` becomes ``x_1`` and ``3½`` gets a space. Lines end in ``\\n``, every other
    white space is a space, and characters that nobody sees are dropped.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _set_off(text.translate(_INVISIBLE)))
    return _SPACE.sub(" ", _LINE_END.sub("\n", text))


def plain(text: str) -> str:
    """A canonical ``text`` without typesetting: ASCII digits, signs and quotes; no LaTeX, no tags,
    no emphasis where it encloses a piece of text."""
    text = without_latex(text).replace("<=", "\u2264").replace(">=", "\u2265")
    if not text.isascii():
        text = "".join(
            str(unicodedata.decimal(character)) if character.isdecimal() else character
            for character in text.translate(_PUNCTUATION)
        )
        text = _LONG_DASH.sub(" - ", _MINUS.sub("-", text))
    return _EMPHASIS.sub(r"\2", _SPACES.sub(" ", _TAG.sub(" ", text)))


def in_word(character: str) -> bool:
    """Whether a character belongs to a word: a letter, a digit, or a mark on one. None does not."""
    return character.isalnum() or character in _JOINERS or (character != "" and is_mark(character))


def is_mark(character: str) -> bool:
    """Whether a character combines with the one before: an accent, a vowel sign, a skin tone."""
    return unicodedata.category(character)[0] == "M" or "\U0001f3fb" <= character <= "\U0001f3ff"


def joined(text: str, at: int) -> bool:
    """Whether the characters on both sides of ``at`` belong to one word.

    Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese letters join no others: ``12です`` is a
    number and a word.
    """
    if not 0 < at < len(text) or not in_word(text[at]):
        return False
    before, after = text[at - 1], text[at]
    return is_mark(after) or (
        in_word(before) and bool(_UNSPACED.match(before)) == bool(_UNSPACED.match(after))
    )


def _set_off(text: str) -> str:
    """``text`` with raised, lowered and stacked characters set off from what stands beside them."""
    made: list[str] = []
    level = ""
    for character in text:
        tag = unicodedata.decomposition(character).partition(" ")[0]
        mark = {"<super>": "^", "<sub>": "_"}.get(tag, "")
        if mark and mark != level:
            made.append(mark)
        if level == "stacked" and character.isalnum():
            made.append(" ")
        level = mark
        if tag == "<fraction>":
            if made and made[-1][-1].isalnum():
                made.append(" ")
            level = "stacked"
        made.append(character)
    return "".join(made)
