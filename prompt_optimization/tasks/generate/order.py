"""Things in an order: in a row, in the alphabet, in a day, in the calendar.

logical_deduction_three_objects, and the same with five and seven::

    On a shelf three things stand side by side: a mug, a jar, and a globe. The jar stands at the
    left end. The mug stands at the right end. Which thing is the second from the left?
    Options:
    (A) The globe
    (B) The mug
    (C) The jar
    -> (A)

word_sorting::

    Put these words into alphabetical order. List: ladder wagon candle drawer salmon
    -> candle drawer ladder salmon wagon

temporal_sequences::

    Zoe got up at 6am and went to bed at 10pm. From 6am to 8am Zoe was in the library. From 9am to
    3pm Zoe was at the station. From 6pm to 8pm Zoe was in the museum. From 8pm to 10pm Zoe was in
    the theatre. From 8am to 9am Zoe was in the gym. When can Zoe have visited a friend, whose
    door was open all day?
    Options:
    (A) 6am to 8am
    (B) 9am to 3pm
    (C) 6pm to 8pm
    (D) 3pm to 6pm
    -> (D)

date_understanding::

    Today is 30 January 2001. What will the date be in a week, written as MM/DD/YYYY?
    Options:
    (A) 01/29/2001
    (B) 03/08/2001
    (C) 01/23/2001
    (D) 02/08/2001
    (E) 02/06/2001
    -> (E)
"""

from __future__ import annotations

import itertools
import random
from datetime import date, timedelta

from prompt_optimization.tasks.generate.logic import PEOPLE
from prompt_optimization.tasks.generate.row import Row, listed, multiple_choice, shuffled

THINGS = "mug jar clock vase lamp candle bowl radio teapot globe camera kettle".split()
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
SIZES = {3: "three", 5: "five", 7: "seven"}

WORDS = (
    "anchor apple arrow autumn bakery barrel basket beacon bishop blanket border bottle "
    "bridge bronze button cabin candle canvas carpet castle cement cherry circle cloud "
    "copper corner cotton cousin cradle dagger desert dinner doctor donkey dragon drawer "
    "engine fabric falcon feather ferry finger forest fountain garden garlic glacier "
    "goblet granite guitar hammer harbor helmet hollow honey island jacket jungle kettle "
    "ladder lantern lemon letter lizard magnet marble market meadow melon mirror monkey "
    "mountain museum needle nickel oyster paddle palace parrot pebble pencil pepper pillow "
    "planet pocket prison puzzle rabbit ribbon river rocket saddle sailor salmon shadow "
    "silver spider spring statue stone summer sunset tailor temple thunder ticket timber "
    "tunnel turtle valley velvet violin wagon walnut window winter"
).split()

PLACES = [
    "at the bank",
    "in the library",
    "at the market",
    "in the museum",
    "at the swimming pool",
    "in the bakery",
    "at the station",
    "in the theatre",
    "at the harbour",
    "in the gym",
]


def logical_deduction(rng: random.Random, size: int) -> Row:
    order = rng.sample(THINGS, size)  # from left to right
    place = rng.randrange(size)
    statements = _unique_statements(rng, order, place)
    introduced = listed([f"a {thing}" for thing in rng.sample(order, size)])
    return multiple_choice(
        f"On a shelf {SIZES[size]} things stand side by side: {introduced}. "
        f"{' '.join(statements)} Which thing is the {_counted(rng, place, size)}?",
        shuffled(rng, [f"The {thing}" for thing in order]),
        f"The {order[place]}",
    )


def _unique_statements(rng: random.Random, order: list[str], asked: int) -> list[str]:
    """True statements that together leave only this order.

    None of them gives the ``asked`` place away by itself: that would be looking up, not deducing.
    """
    size = len(order)
    others = [place for place in range(size) if place != asked]
    possible = list(itertools.permutations(range(size)))  # thing -> place
    statements: list[str] = []
    while len(possible) > 1:
        if rng.random() < 0.6:
            a, b = sorted(rng.sample(range(size), 2))
            left = [p for p in possible if p[a] < p[b]]
            text = rng.choice(
                (
                    f"The {order[a]} is to the left of the {order[b]}.",
                    f"The {order[b]} is to the right of the {order[a]}.",
                )
            )
        else:
            a = rng.choice(others)
            left = [p for p in possible if p[a] == a]
            if a in (0, size - 1):
                text = f"The {order[a]} stands at the {'right' if a else 'left'} end."
            else:
                text = f"The {order[a]} is the {_counted(rng, a, size)}."
        if len(left) < len(possible):
            possible = left
            statements.append(text)
    rng.shuffle(statements)
    return statements


def _counted(rng: random.Random, place: int, size: int) -> str:
    """The place, counted from either side."""
    return rng.choice(
        (f"{ORDINALS[place]} from the left", f"{ORDINALS[size - 1 - place]} from the right")
    )


def word_sorting(rng: random.Random) -> Row:
    words = rng.sample(WORDS, rng.randint(3, 10))
    return Row(
        f"Put these words into alphabetical order. List: {' '.join(words)}",
        " ".join(sorted(words)),
    )


def temporal_sequences(rng: random.Random) -> Row:
    person = rng.choice(PEOPLE)
    hours = sorted(rng.sample(range(7, 21), 5))
    spans = list(itertools.pairwise([6, *hours, 22]))
    free = rng.randrange(len(spans))
    places = rng.sample(PLACES, len(spans))
    seen = [
        f"From {_hour(a)} to {_hour(b)} {person} was {where}."
        for index, ((a, b), where) in enumerate(zip(spans, places, strict=True))
        if index != free
    ]
    options = rng.sample([f"{_hour(a)} to {_hour(b)}" for a, b in spans], 4)
    right = f"{_hour(spans[free][0])} to {_hour(spans[free][1])}"
    if right not in options:
        options[rng.randrange(4)] = right
    return multiple_choice(
        f"{person} got up at {_hour(6)} and went to bed at {_hour(22)}. "
        f"{' '.join(rng.sample(seen, len(seen)))} When can {person} have visited a friend, "
        "whose door was open all day?",
        options,
        right,
    )


def _hour(hour: int) -> str:
    return f"{hour % 12 or 12}{'am' if hour < 12 else 'pm'}"


def date_understanding(rng: random.Random) -> Row:
    today = date(1990, 1, 1) + timedelta(days=rng.randrange(14_000))
    told, known = rng.choice(
        (
            (f"Today is {_spoken(today)}.", today),
            (f"Yesterday was {_spoken(today)}.", today + timedelta(days=1)),
            (f"Tomorrow will be {_spoken(today)}.", today - timedelta(days=1)),
            (f"Two days ago it was {_spoken(today)}.", today + timedelta(days=2)),
        )
    )
    asked, days = rng.choice(
        (
            ("What is the date today", 0),
            ("What was the date a week ago", -7),
            ("What will the date be in a week", 7),
            ("What was the date yesterday", -1),
            ("What will the date be tomorrow", 1),
            ("What will the date be in 10 days", 10),
        )
    )
    right = known + timedelta(days=days)
    options = {right}
    while len(options) < 5:
        options.add(
            right + timedelta(days=rng.choice((-31, -30, -14, -8, -2, -1, 1, 2, 7, 30, 365)))
        )
    return multiple_choice(
        f"{told} {asked}, written as MM/DD/YYYY?",
        shuffled(rng, sorted(f"{option:%m/%d/%Y}" for option in options)),
        f"{right:%m/%d/%Y}",
    )


def _spoken(day: date) -> str:
    months = (
        "January February March April May June July August September October November December"
    ).split()
    return f"{day.day} {months[day.month - 1]} {day.year}"
