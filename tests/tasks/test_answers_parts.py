"""The parts of the reading, each for itself."""

# Characters that look alike are what this is about.
# ruff: noqa: RUF001

from __future__ import annotations

import unicodedata
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.tasks.reading.brackets import brackets_of, states_brackets
from prompt_optimization.tasks.reading.endings import is_denied, is_offered, lengthened
from prompt_optimization.tasks.reading.labels import (
    chosen_label,
    chosen_letter,
    label_set,
    letter_of,
)
from prompt_optimization.tasks.reading.latex import without_latex
from prompt_optimization.tasks.reading.numerals import LONGEST, find_numeral, numeral_at
from prompt_optimization.tasks.reading.phrases import is_stated, statements
from prompt_optimization.tasks.reading.quantities import Quantity, quantity_of, stated_quantity
from prompt_optimization.tasks.reading.spelling import canonical, joined, plain


@given(st.text())
def test_canonical_changes_nothing_twice(text: str) -> None:
    once = canonical(text)
    assert canonical(once) == once
    assert unicodedata.is_normalized("NFC", once)


@given(st.text(st.characters(codec="ascii", exclude_characters="\r\t\v\f\x1c\x1d\x1e\x1f")))
def test_canonical_leaves_ascii_alone(text: str) -> None:
    assert canonical(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12²", "12^2"),
        ("10⁻³", "10^\u22123"),
        ("x₁", "x_1"),
        ("3½", "3 1\u20442"),
        ("½3", "1\u20442 3"),
        ("a\u00a0b\u2009c\td", "a b c d"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("e\u0301\u200b", "é"),
        ("Ａ１", "A1"),
        ("ﬁ", "fi"),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("–5", "-5"),
        ("—5", "-5"),
        ("Rome—the city", "Rome - the city"),
        ("١٢٫٥٪", "12.5%"),
        ("‘a’", "'a'"),
        ("**a** and *b*", "a and b"),
        ("a** and **b", "a** and **b"),
        ("2*3*4", "2*3*4"),
        ("<b>a</b>", " a "),
        ("1 < a > 2", "1 < a > 2"),
        ("a <= b", "a \u2264 b"),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{\text{5}}", "5"),
        (r"5\text{kg}", "5 kg"),
        (r"\boxed{5", "5"),
        (r"\frac{1}{2}", "1/2"),
        (r"\dfrac12", "1/2"),
        (r"\frac{x}{2}", "(x)/2"),
        (r"3 \times 4 \cdot 5", "3 \u00d7 4 \u00b7 5"),
        (r"\(5\)", "$5$"),
        (r"10^{3}", "10^3"),
        (r"1{,}000 1\,000", "1,000 1,000"),
        (r"50\%", "50%"),
        (r"90^\circ", "90\u00b0"),
        ("{a}", "{a}"),
    ],
)
def test_latex(text: str, expected: str) -> None:
    assert without_latex(text) == expected


def test_scripts_without_spaces_join_no_others() -> None:
    assert joined("ab", 1) and joined("1a", 1) and joined("北京", 1) and joined("कि", 1)
    assert not joined("12です", 2) and not joined("答案B", 2) and not joined("B입", 1)
    assert not joined("a", 1) and not joined("a b", 1) and not joined("", 0)


def test_a_numeral_and_where_it_stands() -> None:
    numeral = find_numeral("about -$1,000.50 more", 0)
    assert numeral is not None
    assert (numeral.value, numeral.currency) == (Fraction(-2001, 2), "$")
    assert (numeral.start, numeral.first_digit, numeral.end) == (6, 8, 16)
    assert numeral_at("about 5", 0) is None and find_numeral("none", 0) is None


def test_what_is_no_numeral() -> None:
    for digits in ("1.2.3", "12 34", "1,23,4", "9" * (LONGEST + 1)):
        numeral = numeral_at(digits, 0)
        assert numeral is not None and numeral.value is None and numeral.end == len(digits)


def test_quantities() -> None:
    assert quantity_of("$5 million") == Quantity(Fraction(5 * 10**6), "$")
    assert quantity_of("12 apples") is None and quantity_of("12 + 1") is None
    assert stated_quantity("12 apples") == Quantity(Fraction(12))
    assert stated_quantity("12 + 1 = 13") == Quantity(Fraction(13))
    assert stated_quantity("12 + 1") is None and stated_quantity("none") is None


def test_a_currency_counts_where_it_is_expected() -> None:
    five = {currency: Quantity(Fraction(5), currency) for currency in ("", "$", "€")}
    assert five["€"].answers(five[""]) and five["$"].answers(five[""])
    assert five[""].answers(five["$"]) and not five[""].answers(five["€"])
    assert not five["€"].answers(five["$"]) and not five["$"].answers(five["€"])


def test_letters_and_labels() -> None:
    assert letter_of("(B)") == letter_of("B") == "B" and letter_of("Ж") == "Ж"
    assert letter_of("b") is None and letter_of("AB") is None and letter_of("1") is None
    assert chosen_letter("Option (C), not (B)") == "C" and chosen_letter("none") is None
    assert label_set("YES") == {"yes", "no"} and not label_set("maybe")
    assert label_set("true") == {"true", "false", "uncertain", "unknown"}
    assert chosen_label("Surely yes.", label_set("no")) == "yes"
    assert chosen_label("yes or no", label_set("no")) is None


def test_brackets() -> None:
    assert brackets_of("] )") == "])" and brackets_of("]x") is None and brackets_of("") is None
    assert states_brackets("'] )' and so", "])")
    assert not states_brackets("] ) }", "])") and not states_brackets("] or )", "]")
    assert not states_brackets("( x )", "(") and not states_brackets("[x", "[")


def test_where_statements_begin() -> None:
    begun = list(statements('The answer is **"Rome"**', in_brackets=False))
    assert begun[0].startswith("The") and '"Rome"**' in begun and 'Rome"**' in begun
    assert "Rome)" in statements("(Rome)", in_brackets=True)
    assert "Rome)" not in statements("(Rome)", in_brackets=False)
    assert "}" in statements("\\boxed{}}", in_brackets=False)
    assert is_stated("Answer: Rome, I think", "Rome") and not is_stated("Rome Hotel", "Rome")


def test_endings() -> None:
    assert lengthened("A+", 1) and lengthened("f(x)", 1) and lengthened("Node.js", 4)
    assert not lengthened("A.", 1) and not lengthened("A", 1) and not lengthened("A ", 1)
    assert is_offered("A or B", 1) and is_offered("A$ or", 1) and not is_offered("A order", 1)
    assert is_denied("A is wrong", 1) and not is_denied("A is right", 1)
