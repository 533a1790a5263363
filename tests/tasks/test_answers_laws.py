"""Laws of reading that hold for any text and any reference."""

# Characters that look alike are what this is about.
# ruff: noqa: RUF001

from __future__ import annotations

import json
import os
import unicodedata
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from prompt_optimization.tasks.answers import flexible_match, strict_match
from prompt_optimization.tasks.reading.labels import LABEL_SETS
from prompt_optimization.tasks.reading.words import AND, GOES_ON_ABOUT, NOT, OR

# Pieces that texts of models are made of, so that random texts come near the hard cases.
PIECES = (
    "15 12 3 0 -50 1/2 .5 1,000 1.000,5 3½ 12² 50% 1e3 ١٢ 万 k million A B (A) (B) I True False "
    "Yes No not or and is answer The the apple river St. Louis ] ) } < > [ $ $$ ** * ` ' \" . .. "
    ", ; : ! ? = + - – — − × x ^ / | & % ° € \\ { } \\boxed{ \\frac{1}{2} é e\u0301 किताब 北京 "
    "\u00a0 \u200b ✅ 🇫🇷 <b> </b> 是 或 # @ _ ~ ¬"
).split(" ")
texts = st.one_of(
    st.text(max_size=12),
    st.lists(st.sampled_from([*PIECES, " ", "\n", "\n\n"]), max_size=8).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=6).map(" ".join),
)


def is_visible(text: str) -> bool:
    canonical = unicodedata.normalize("NFKC", text)
    return any(unicodedata.category(character)[0] not in "ZCM" for character in canonical)


references = texts.filter(is_visible)

integers = st.integers(-(10**7), 10**7)
decimals = st.decimals(-999, 999, places=2)
numbers = st.one_of(integers.map(Decimal), decimals).map(lambda value: f"{value:f}")
small_letters = st.characters(categories=["Ll", "Lo"])
# Words that are labels, or that join others, are read as such.
KNOWN = frozenset().union(*LABEL_SETS, OR, AND, NOT, GOES_ON_ABOUT)
words = st.text(small_letters, min_size=2, max_size=8).filter(
    lambda word: unicodedata.is_normalized("NFKC", word) and word.casefold() not in KNOWN
)
lists_of_words = st.lists(words, min_size=1, max_size=4).map(" ".join)


def wrong(text: str, answer: str) -> bool:
    return not strict_match(text, answer) and not flexible_match(text, answer)


@settings(max_examples=400)
@given(references, texts)
@example("8", " apples")
def test_what_is_strictly_right_is_flexibly_right(answer: str, rest: str) -> None:
    text = answer + rest
    assert flexible_match(text, answer) or not strict_match(text, answer)


@settings(max_examples=400)
@given(references)
def test_a_text_states_itself(answer: str) -> None:
    assert strict_match(answer, answer)
    assert strict_match(f" {answer}\n", answer)
    assert flexible_match(answer, answer)


PHRASES = (
    "The answer is {}.",
    "Therefore, the final answer is {}",
    "{}.",
    "{} $",
    "{}$",
    "**{}**",
    "${}$",
    "\\boxed{{{}}}",
    '"{}"',
    "{}\n",
    "{}\n\nNow",
    "“{}”",
)


@settings(max_examples=400)
@given(references, st.sampled_from(PHRASES))
def test_usual_phrases_state_what_they_hold(answer: str, phrase: str) -> None:
    assert flexible_match(phrase.format(answer.strip()), answer)


OPERATORS = [" * ", " x ", " + ", " - ", " / ", "*", "x", "+", "-", "–", "/", ":", "^", " × ", "÷"]
OPERATORS += [" to ", " and ", ", ", " or ", " mod ", " plus ", " times ", " out of ", "..", " < "]


@given(numbers, st.sampled_from(OPERATORS), st.integers(2, 999))
def test_an_operand_is_not_stated(one: str, operator: str, other: int) -> None:
    text = f"{one}{operator}{other}"
    # "1/7" is a number itself, "0/7" is nought.
    assume(not (operator == "/" and Decimal(one) in (0, other)))
    assert wrong(text, one)
    assert wrong(text, str(other))


@given(integers, st.sampled_from(["*", " x ", " + ", " × ", " times "]), integers, integers)
def test_a_result_is_stated(one: int, operator: str, other: int, result: int) -> None:
    text = f"{one}{operator}{other} = {result}"
    assert flexible_match(text, str(result))
    for operand in {one, other} - {result}:
        assert wrong(text, str(operand))


SEPARATORS = [" or ", ", or ", "/", " / ", " | ", " or $ ", "** or **", " oder ", " или ", "\nor "]
CHOICES = st.one_of(
    st.lists(st.sampled_from("BCDEFGH"), min_size=2, max_size=2, unique=True),
    st.sampled_from([["True", "False"], ["no", "Yes"], ["valid", "invalid"], ["] )", "}"]]),
    st.lists(lists_of_words, min_size=2, max_size=2, unique=True),
    st.lists(integers.map(str), min_size=2, max_size=2, unique=True),
)


@given(CHOICES, st.sampled_from(SEPARATORS), st.sampled_from(["{}", "The answer is {}.", "({})"]))
def test_who_offers_choices_chooses_none(choices: list[str], joint: str, phrase: str) -> None:
    one, other = choices
    assume(one.casefold() != other.casefold())
    # A quotient is a number.
    assume(joint.strip() != "/" or not one.strip("-").isdecimal())
    text = phrase.format(one + joint + other)
    assert wrong(text, one)
    assert wrong(text, other)


SILENT = st.text(st.characters(categories=["Z", "Cc", "Po", "Pd", "Ps", "Pe", "Pi", "Pf"]))


@given(SILENT, references)
def test_a_text_of_marks_states_no_words_and_numbers(text: str, answer: str) -> None:
    assume(any(map(str.isalnum, unicodedata.normalize("NFKC", answer))))
    assert wrong(text, answer)


@given(texts)
def test_nothing_is_stated_by_nothing(text: str) -> None:
    assert wrong("", text)
    assert wrong(" \n", text)
    assert wrong(text, "")


@given(numbers, numbers)
def test_numbers_are_distinguished_by_value(one: str, other: str) -> None:
    is_same = Decimal(one) == Decimal(other)
    assert flexible_match(one, other) == is_same
    assert strict_match(one, other) == (one == other)


@given(numbers)
def test_a_sign_distinguishes_numbers(number: str) -> None:
    opposite = number[1:] if number.startswith("-") else f"-{number}"
    assume(Decimal(number) != 0)
    for minus in "-\u2212\u2013":
        assert wrong(opposite.replace("-", minus), number)
        assert wrong(number.replace("-", minus), opposite)


SYMBOLS = st.sampled_from("+-*/^=<>~!#&@_%'¬√±∧∨→([")


@given(words, SYMBOLS, st.booleans())
def test_a_symbol_distinguishes_texts(word: str, symbol: str, before: bool) -> None:
    # An exclamation mark or an apostrophe after a word is an end mark.
    assume(before or symbol not in "!'")
    # What opens a quotation, emphasis or brackets round a word is a mark.
    assume(not before or symbol not in "*'([")
    text = symbol + word if before else word + symbol
    assert wrong(text, word)
    assert wrong(word, text)


@given(words, st.integers(0, 7), st.sampled_from("\u0301\u0308\u0327\u0303\u0331"))
def test_a_mark_on_a_letter_distinguishes_texts(word: str, place: int, mark: str) -> None:
    marked = word[: place + 1] + mark + word[place + 1 :]
    for form in ("NFC", "NFD"):
        assert wrong(unicodedata.normalize(form, marked), word)
        assert wrong(word, unicodedata.normalize(form, marked))


@given(st.lists(words, min_size=1, max_size=4), st.lists(words, min_size=1, max_size=4))
def test_lists_are_distinguished_by_every_item(one: list[str], other: list[str]) -> None:
    is_same = [word.casefold() for word in one] == [word.casefold() for word in other]
    # A line that follows one word does not add to it.
    for joint in (" ", ", ", "\n")[: 2 if len(other) == 1 else 3]:
        assert flexible_match(joint.join(one), " ".join(other)) == is_same


FORMULA = ["x", "y", "2", "(", ")", "[", "]", "+", "-", "∧", "¬", "=", "<", "p", "π"]


@given(*[st.lists(st.sampled_from(FORMULA), min_size=2, max_size=5)] * 2)
def test_formulas_are_distinguished_by_every_symbol(one: list[str], other: list[str]) -> None:
    # A number is found anywhere; brackets are the form of another task, or marks round words.
    assume(any(piece in "xypπ" for piece in other) and one != other)
    assume(not (one[0] in "([" and "".join(other).isalpha()))
    # What is not part of one is a sentence: "x y" is no longer "x".
    assume(one[: len(other)] != other or one[len(other)] not in "()[]")
    assert wrong(" ".join(one), " ".join(other))


SPELLINGS = (
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: unicodedata.normalize("NFC", text),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    lambda text: "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isdigit() else c for c in text),
    lambda text: "\u200e" + text + "\ufeff",
)


@given(texts, references, st.sampled_from(SPELLINGS), st.sampled_from(SPELLINGS))
def test_two_spellings_of_one_unicode_text_are_one_text(text, answer, one, other) -> None:
    for said in (text, answer + text):
        for reading in (strict_match, flexible_match):
            assert reading(one(said), other(answer)) == reading(said, answer)


GROUPS = [",", " ", "\u00a0", "\u202f", "\u2009", "'", "’", "_", "{,}", "\\,"]
SCRIPTS = [
    "0123456789",
    "٠١٢٣٤٥٦٧٨٩",
    "०१२३४५६७८९",
    "０１２３４５６７８９",
    "০১২৩৪৫৬৭৮৯",
    "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗",
]


@given(
    st.integers(0, 10**9),
    st.one_of(st.just(""), st.integers(0, 99).map("{:02}".format)),
    st.sampled_from(["", "-", "\u2212", "\u2013", "- ", "minus "]),
    st.sampled_from(["", "$", "€"]),
    st.sampled_from(GROUPS),
    st.sampled_from(SCRIPTS),
)
def test_one_value_has_many_spellings(whole, decimals, sign, currency, group, script) -> None:
    plain = f"{'-' if sign else ''}{whole}{'.' if decimals else ''}{decimals}"
    grouped = f"{whole:,}".replace(",", group) + ("." + decimals if decimals else "")
    spelled = sign + currency + grouped.translate(str.maketrans("0123456789", script))
    assert flexible_match(spelled, plain)
    assert flexible_match(f"It is {spelled}.", plain)
    off_by_one = Decimal(plain) + 1
    assert wrong(spelled, f"{off_by_one:f}")


@given(st.integers(1000, 10**9), st.integers(1, 99))
def test_decimal_commas_after_groups(whole: int, cents: int) -> None:
    for group in (".", " ", "'"):
        spelled = f"{whole:,}".replace(",", group) + f",{cents:02}"
        assert flexible_match(spelled, f"{whole}.{cents:02}")
        assert wrong(spelled, f"{whole}{cents:02}")


@given(texts, numbers, numbers)
def test_a_text_states_one_number(text: str, one: str, other: str) -> None:
    assume(Decimal(one) != Decimal(other))
    for said in (text, one + text, text + one, f"{one} {text} {other}"):
        assert not (flexible_match(said, one) and flexible_match(said, other))


@settings(max_examples=400)
@given(texts)
def test_a_text_chooses_one_option(text: str) -> None:
    for options in ("AB", ["Yes", "No"], ["True", "False"], ["valid", "invalid"]):
        assert not all(flexible_match(text, option) for option in options)


@pytest.mark.skipif("GREATER_OFFICIAL" not in os.environ, reason="needs the official data")
def test_official_references_are_stated_and_distinguished() -> None:
    for path in sorted(Path(os.environ["GREATER_OFFICIAL"]).glob("bbh/*.json")):
        examples = json.loads(path.read_text(encoding="utf-8"))["examples"]
        references = sorted({example["target"] for example in examples})
        for answer in references:
            assert strict_match(answer, answer)
            for phrase in PHRASES:
                assert flexible_match(phrase.format(answer), answer), (path.stem, phrase, answer)
        for answer, other in zip(references, references[1:] + references[:1], strict=True):
            assert wrong(other, answer) or answer == other, (path.stem, other, answer)
