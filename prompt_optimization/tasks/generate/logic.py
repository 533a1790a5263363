"""Truth values and brackets.

boolean_expressions::

    False or True is
    -> True

web_of_lies::

    Everybody here either always lies or never does. Hiro lies. Mateo says Hiro lies. Katya says
    Mateo lies. Zoe says Katya lies. Celia says Zoe lies. Does Celia tell the truth?
    -> No

dyck_languages::

    Write the brackets that are still missing at the end of this sequence, so that every bracket
    is closed in the right order. Input: [ ] ( {
    -> } )
"""

from __future__ import annotations

import itertools
import random

from prompt_optimization.tasks.generate.row import Row

PEOPLE = (
    "Amara Bruno Celia Dmitri Elif Farid Greta Hiro Ines Jonas Katya Leila Mateo Nadia "
    "Oskar Priya Quentin Rosa Samir Tilda Umar Vera Wanda Yusuf Zoe"
).split()
PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}


def boolean_expressions(rng: random.Random) -> Row:
    # The value is drawn first: expressions left to chance come out True more often than False.
    wanted = rng.random() < 0.5
    while True:
        text, value = _expression(rng, rng.randint(2, 4))
        if value == wanted:
            return Row(f"{text} is", str(value))


def _expression(rng: random.Random, terms: int) -> tuple[str, bool]:
    """An expression over ``terms`` values; ``and`` binds tighter than ``or``, ``not`` tightest."""
    # A disjunction of conjunctions: the value follows the operators' precedence by itself.
    texts: list[str] = []
    value, product = False, True
    for index in range(terms):
        text, factor = _factor(rng, terms)
        if index and rng.random() < 0.5:
            value, product = value or product, True
            texts.append("or")
        elif index:
            texts.append("and")
        product = product and factor
        texts.append(text)
    return " ".join(texts), value or product


def _factor(rng: random.Random, terms: int) -> tuple[str, bool]:
    negations = rng.choice((0, 0, 1, 2))
    if terms > 2 and rng.random() < 0.35:
        inner, value = _expression(rng, 2)
        text = f"( {inner} )"
    else:
        value = rng.random() < 0.5
        text = f"( {value} )" if rng.random() < 0.4 else str(value)
    return "not " * negations + text, value != (negations % 2 == 1)


def web_of_lies(rng: random.Random) -> Row:
    people = rng.sample(PEOPLE, 5)
    honest = rng.random() < 0.5
    sentences = [f"{people[0]} {'tells the truth' if honest else 'lies'}."]
    for before, speaker in itertools.pairwise(people):
        praises = rng.random() < 0.5
        sentences.append(f"{speaker} says {before} {'tells the truth' if praises else 'lies'}.")
        honest = praises == honest
    question = "Everybody here either always lies or never does. " + " ".join(sentences)
    return Row(f"{question} Does {people[-1]} tell the truth?", "Yes" if honest else "No")


def dyck_languages(rng: random.Random) -> Row:
    length = rng.randint(4, 18)
    written: list[str] = []
    open_now: list[str] = []
    while len(written) < length or not open_now:
        if open_now and rng.random() < 0.45 and len(written) < length:
            written.append(PAIRS[open_now.pop()])
        else:
            bracket = rng.choice(list(PAIRS))
            open_now.append(bracket)
            written.append(bracket)
    answer = " ".join(PAIRS[bracket] for bracket in reversed(open_now))
    return Row(
        "Write the brackets that are still missing at the end of this sequence, so that every "
        f"bracket is closed in the right order. Input: {' '.join(written)}",
        answer,
    )
