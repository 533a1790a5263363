"""Things and people that move.

navigate::

    You stand in a field and follow these orders: Take 2 steps. Take 5 steps. Take 2 steps. Do you
    end where you began?
    Options:
    - Yes
    - No
    -> No

tracking_shuffled_objects_three_objects, and the same with five and seven::

    At a party everybody wears a hat: at first Katya has the white hat, Hiro has the red hat, and
    Zoe has the grey hat. Then they begin to swap. First, Katya and Zoe swap hats. Then, Katya and
    Zoe swap hats. Finally, Zoe and Katya swap hats. In the end Katya has the
    Options:
    (A) red hat
    (B) grey hat
    (C) white hat
    -> (B)
"""

from __future__ import annotations

import random

from prompt_optimization.tasks.generate.logic import PEOPLE
from prompt_optimization.tasks.generate.row import Row, listed, multiple_choice, shuffled

TURNS = {"Turn left.": 1, "Turn right.": 3, "Turn around.": 2}
DIRECTIONS = {"forward": 0, "left": 1, "backward": 2, "right": 3}

# What is swapped: the set-up's words, the thing's plural, and what there is of it.
GOODS = (
    (
        "At a party everybody wears a hat",
        "hats",
        ["red", "blue", "green", "black", "white", "brown", "grey"],
    ),
    (
        "Some neighbours grow one plant each",
        "plants",
        ["fern", "cactus", "orchid", "ivy", "palm", "basil", "tulip"],
    ),
    (
        "Each player in a band carries one case",
        "cases",
        ["violin", "trumpet", "flute", "guitar", "cello", "oboe", "harp"],
    ),
)


def navigate(rng: random.Random) -> Row:
    wanted = rng.random() < 0.5
    while True:
        instructions, place = _walk(rng)
        if (place == 0) == wanted:
            break
    return Row(
        f"You stand in a field and follow these orders: {' '.join(instructions)} Do you end where "
        "you began?\nOptions:\n- Yes\n- No",
        "Yes" if wanted else "No",
    )


def _walk(rng: random.Random) -> tuple[list[str], complex]:
    """Orders and the place they lead to, as a complex number from 0."""
    place, facing = 0j, 0
    orders: list[str] = []
    if rng.random() < 0.4:
        orders.append("Keep looking the same way all the time.")
        for _ in range(rng.randint(3, 6)):
            steps, way = rng.randint(1, 6), rng.choice(list(DIRECTIONS))
            orders.append(f"Take {steps} step{'s' * (steps > 1)} {way}.")
            place += steps * 1j ** DIRECTIONS[way]
        return orders, place
    for _ in range(rng.randint(3, 6)):
        if rng.random() < 0.5:
            turn = rng.choice(list(TURNS))
            orders.append(turn)
            facing += TURNS[turn]
        steps = rng.randint(1, 6)
        orders.append(f"Take {steps} step{'s' * (steps > 1)}.")
        place += steps * 1j**facing
    return orders, place


def tracking_shuffled_objects(rng: random.Random, size: int) -> Row:
    people = rng.sample(PEOPLE, size)
    setting, plural, names = rng.choice(GOODS)
    things = rng.sample(names, size)
    holds = dict(zip(people, things, strict=True))
    thing = plural.removesuffix("s")
    begin = listed([f"{person} has the {holds[person]} {thing}" for person in people])
    swaps = []
    for _ in range(size):
        a, b = rng.sample(people, 2)
        holds[a], holds[b] = holds[b], holds[a]
        swaps.append(f"{a} and {b} swap {plural}.")
    words = ["First,", *["Then,"] * (size - 2), "Finally,"]
    told = " ".join(f"{word} {swap}" for word, swap in zip(words, swaps, strict=True))
    asked = rng.choice(people)
    return multiple_choice(
        f"{setting}: at first {begin}. Then they begin to swap. {told} In the end {asked} has the",
        shuffled(rng, [f"{name} {thing}" for name in things]),
        f"{holds[asked]} {thing}",
    )
