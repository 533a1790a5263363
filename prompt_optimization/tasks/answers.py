"""Does a generated text state the reference answer?

Two readings are reported side by side. *Flexible*: the first expression in the text that has the
answer's form (a number, an option's letter, a label such as yes or no, brackets; else the text from
its beginning or from "the answer is" on) is one spelling of the answer. *Strict*: in addition the
text begins with the answer, letter for letter.

Under both, an expression is read to its end. A number that goes on (``15 * 5``, ``3:4``,
``10-12``, ``3 million``) is not its first part. A text that offers choices (``True or False``,
``A/B``) chooses none. What distinguishes two answers (a sign, a symbol, an accent, an operator, a
bracket) distinguishes the texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from fractions import Fraction

from prompt_optimization.tasks.reading.brackets import brackets_of, states_brackets
from prompt_optimization.tasks.reading.endings import lengthened
from prompt_optimization.tasks.reading.labels import (
    chosen_label,
    chosen_letter,
    label_set,
    letter_of,
)
from prompt_optimization.tasks.reading.phrases import is_stated
from prompt_optimization.tasks.reading.quantities import quantity_of, stated_quantity
from prompt_optimization.tasks.reading.spelling import canonical, plain


def strict_match(text: str, answer: str) -> bool:
    """Whether ``text``, leading white space apart, begins with ``answer`` to the letter and states
    it: what follows neither lengthens the answer nor makes it another one."""
    text, answer = canonical(text).strip(), canonical(answer).strip()
    return text.startswith(answer) and not lengthened(text, len(answer)) and _states(text, answer)


def flexible_match(text: str, answer: str) -> bool:
    """Whether the first expression in ``text`` of the answer's form is a spelling of ``answer``.

    Numbers are equal by value, other texts up to case, spacing, separators and typesetting. An
    answer without anything visible is never stated.
    """
    return _states(canonical(text).strip(), canonical(answer).strip())


def stated_answer(text: str, answers: Sequence[str]) -> str:
    """What ``text`` states, in the form that ``answers`` of the same task have; empty for nothing
    of that form.

    Where all of them are numbers or letters of options, any other one may be stated. Else it is
    the first of ``answers`` that is stated flexibly. Where none is, a text as short as they are is
    an answer itself, unless they belong to a closed set of labels.
    """
    written = canonical(text).strip()
    forms = [canonical(answer).strip() for answer in answers]
    if all(quantity_of(plain(form)) for form in forms):
        stated = stated_quantity(plain(written))
        return "" if stated is None else _in_digits(stated.value)
    if all(letter_of(form) for form in forms):
        return chosen_letter(plain(written)) or ""
    found = next((answer for answer in answers if flexible_match(text, answer)), "")
    if found or any(label_set(form) for form in forms):
        return found
    short = " ".join(written.split())
    return short if len(short) <= max(map(len, forms)) else ""


def _in_digits(value: Fraction) -> str:
    """A number as answers are written."""
    return str(value) if value.denominator == 1 else f"{float(value):g}"


def _states(text: str, answer: str) -> bool:
    if not any(_is_visible(character) for character in answer):
        return False
    if expected := quantity_of(plain(answer)):
        stated = stated_quantity(plain(text))
        return stated is not None and stated.answers(expected)
    if letter := letter_of(answer):
        return chosen_letter(plain(text)) == letter
    if labels := label_set(answer):
        return chosen_label(plain(text), labels) == answer.casefold()
    if brackets := brackets_of(answer):
        return states_brackets(text, brackets)
    return is_stated(text, answer)


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "ZC"
