"""Coloured things on a surface.

reasoning_about_colored_objects: ``On the desk lie a red pen and a blue cup. What colour is the
cup?`` with lettered colours -> ``(C)``
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
    kind = rng.choice(("colour", "count", "neighbour"))
    at = rng.randrange(len(things))
    if kind == "count":
        number = colours.count(colours[at])
        return multiple_choice(
            f"{intro} How many of them are {colours[at]}?", NUMBERS, NUMBERS[number]
        )
    if kind == "colour":
        question, right = f"What colour is the {things[at]}?", colours[at]
    else:
        at = rng.randrange(len(things) - 1)
        question = f"What colour is the thing directly to the right of the {things[at]}?"
        right = colours[at + 1]
    return multiple_choice(f"{intro} {question}", COLOURS, right)
