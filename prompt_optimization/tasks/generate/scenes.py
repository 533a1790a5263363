"""Coloured things on a surface.

reasoning_about_colored_objects::

    On the desk, from left to right, there are these things: a pink cup, a white ruler, and a
    white ball. How many of them are green?
    Options:
    (A) zero
    (B) one
    (C) two
    (D) three
    (E) four
    (F) five
    (G) six
    -> (A)
"""

from __future__ import annotations

import random

from prompt_optimization.tasks.generate.numbers import NUMBERS
from prompt_optimization.tasks.generate.row import Row, article, listed, multiple_choice

COLOURS = "red orange yellow green blue purple pink brown black grey white".split()
THINGS = ("pen cup book key scarf plate stamp bottle comb notebook ruler ball mug envelope").split()
SURFACES = ("On the desk", "On the carpet", "On the kitchen table", "On the window sill")


def reasoning_about_colored_objects(rng: random.Random) -> Row:
    things = rng.sample(THINGS, rng.randint(3, 6))
    palette = rng.sample(COLOURS, rng.randint(3, 5))
    colours = [rng.choice(palette) for _ in things]
    scene = listed([article(f"{c} {t}") for c, t in zip(colours, things, strict=True)])
    intro = f"{rng.choice(SURFACES)}, from left to right, there are these things: {scene}."
    ask = rng.choice((_colour, _neighbour, _count, _neither, _beside))
    question, answer = ask(rng, things, colours, palette)
    options = COLOURS if isinstance(answer, str) else NUMBERS
    right = answer if isinstance(answer, str) else NUMBERS[answer]
    return multiple_choice(f"{intro} {question}", options, right)


# Each asks one thing about the scene; a colour answers it, or a number.
Asked = tuple[str, str | int]


def _colour(rng: random.Random, things: list[str], colours: list[str], palette: list[str]) -> Asked:
    at = rng.randrange(len(things))
    return f"What colour is the {things[at]}?", colours[at]


def _neighbour(
    rng: random.Random, things: list[str], colours: list[str], palette: list[str]
) -> Asked:
    at = rng.randrange(len(things) - 1)
    here, there, side = rng.choice(((at, at + 1, "right"), (at + 1, at, "left")))
    question = f"What colour is the thing directly to the {side} of the {things[here]}?"
    return question, colours[there]


def _count(rng: random.Random, things: list[str], colours: list[str], palette: list[str]) -> Asked:
    colour = rng.choice(palette)
    return f"How many of them are {colour}?", colours.count(colour)


def _neither(
    rng: random.Random, things: list[str], colours: list[str], palette: list[str]
) -> Asked:
    a, b = rng.sample(palette, 2)
    number = len(colours) - colours.count(a) - colours.count(b)
    return f"How many of them are neither {a} nor {b}?", number


def _beside(rng: random.Random, things: list[str], colours: list[str], palette: list[str]) -> Asked:
    at, colour = rng.randrange(len(things)), rng.choice(palette)
    side, there = rng.choice((("right", colours[at + 1 :]), ("left", colours[:at])))
    return (
        f"How many of the things to the {side} of the {things[at]} are not {colour}?",
        len(there) - there.count(colour),
    )
