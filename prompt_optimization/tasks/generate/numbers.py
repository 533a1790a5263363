"""Counting and computing.

multistep_arithmetic_two::

    ((5 + 8 * 8) + (3 + 9 + 1)) =
    -> 82

object_counting::

    On the list there are an apple, an orange, and a carrot. How many fruits are there?
    -> 2

one_step_arithmetic, our own and no BIG-Bench Hard task::

    Zoe buys 4 bags with 5 plums each. How many plums is that?
    -> 20
"""

from __future__ import annotations

import random

from prompt_optimization.tasks.generate.logic import PEOPLE
from prompt_optimization.tasks.generate.row import Row, article, listed

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")

KINDS = {
    "fruits": "apple pear plum peach orange banana mango lemon apricot kiwi".split(),
    "vegetables": ["carrot", "cabbage", "onion", "leek", "turnip", "cucumber", "radish", "pumpkin"],
    "animals": "dog cat goat horse rabbit duck hamster sheep donkey parrot".split(),
    "musical instruments": "drum flute violin guitar harp trumpet cello banjo".split(),
    "pieces of furniture": "chair table sofa desk wardrobe stool bench cupboard".split(),
    "vehicles": ["bus", "tractor", "van", "scooter", "truck", "tram", "bicycle", "motorbike"],
}
PLURALS = {"peach": "peaches", "radish": "radishes", "bus": "buses", "bench": "benches"} | {
    "sheep": "sheep",
    "mango": "mangoes",
}


def plural(noun: str) -> str:
    return PLURALS.get(noun, noun + "s")


def multistep_arithmetic_two(rng: random.Random) -> Row:
    left, left_value = _bracket(rng)
    right, right_value = _bracket(rng)
    operator = rng.choice("+-*")
    value = {
        "+": left_value + right_value,
        "-": left_value - right_value,
        "*": left_value * right_value,
    }[operator]
    return Row(f"(({left}) {operator} ({right})) =", str(value))


def _bracket(rng: random.Random) -> tuple[str, int]:
    """Three or four small numbers; products bind tighter than sums."""
    number = rng.choice([n for n in range(-9, 10) if n])
    texts, total, product = [str(number)], 0, number
    for _ in range(rng.randint(2, 3)):
        operator = rng.choice("+-*")
        number = rng.choice([n for n in range(-9, 10) if n])
        texts += [operator, str(number)]
        if operator == "*":
            product *= number
        else:
            total, product = total + product, number if operator == "+" else -number
    return " ".join(texts), total + product


def object_counting(rng: random.Random) -> Row:
    asked, other = rng.sample(sorted(KINDS), 2)
    things: list[str] = []
    count = 0
    for kind, how_many in ((asked, rng.randint(2, 6)), (other, rng.randint(1, 4))):
        for noun in rng.sample(KINDS[kind], how_many):
            number = rng.choice((1, 1, 1, 2, 3, 4))
            things.append(article(noun) if number == 1 else f"{NUMBERS[number]} {plural(noun)}")
            count += number if kind == asked else 0
    rng.shuffle(things)
    place = rng.choice(("In the barn I see", "On the list there are", "Behind the house I find"))
    return Row(f"{place} {listed(things)}. How many {asked} are there?", str(count))


def one_step_arithmetic(rng: random.Random) -> Row:
    person, friend = rng.sample(PEOPLE, 2)
    noun = plural(rng.choice(KINDS["fruits"] + KINDS["vegetables"]))
    a, b = rng.randint(3, 12), rng.randint(2, 6)
    more, fewer, times = (
        (
            f"{person} has {a} {noun} and buys {b} more. How many {noun} does {person} have now?",
            f"{person} picks {a} {noun} and {friend} picks {b}. How many {noun} is that together?",
            f"There are {a} {noun} in a bowl. {person} adds {b}. How many {noun} are in the bowl?",
        ),
        (
            f"{person} has {a + b} {noun} and gives {b} of them to {friend}. How many {noun} does "
            f"{person} have left?",
            f"A basket holds {a + b} {noun}. {person} eats {b}. How many {noun} remain?",
            f"{person} needs {a + b} {noun} and already has {b}. How many {noun} are missing?",
        ),
        (
            f"{person} buys {b} bags with {a} {noun} each. How many {noun} is that?",
            f"Each of {b} children brings {a} {noun}. How many {noun} are there in all?",
        ),
    )
    kind = rng.choice(("more", "fewer", "times"))
    if kind == "more":
        return Row(rng.choice(more), str(a + b))
    if kind == "fewer":
        return Row(rng.choice(fewer), str(a))
    return Row(rng.choice(times), str(a * b))
