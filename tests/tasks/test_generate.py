"""The generated task files: every question is answered again from its text alone.

A solver here never shares code or method with the generator: it parses what the file says and
gets the answer another way (search instead of construction, backwards instead of forwards).
A sentence that a solver does not know fails, so no part of a question goes unread.
"""

import calendar
import csv
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from prompt_optimization.commands.generate_data import main
from prompt_optimization.paths import data_folder
from prompt_optimization.tasks.examples import read_table
from prompt_optimization.tasks.generate import TASKS, table

FOLDER = data_folder() / "BBH"

ORDINALS = {
    word: number
    for number, word in enumerate("first second third fourth fifth sixth seventh".split())
}
NUMBERS = {
    word: number for number, word in enumerate("zero one two three four five six".split())
} | {"a": 1, "an": 1}


def parsed(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of a pattern that has to fit the whole text."""
    match = re.fullmatch(pattern, text, re.DOTALL)
    assert match, f"{text!r} is not of the form {pattern!r}"
    return match.groups()


def things_in(listing: str) -> list[str]:
    """The parts of ``a, b, and c`` or ``a and b``."""
    return re.split(r", and |, | and ", listing)


def options_of(goal: str) -> tuple[str, dict[str, str]]:
    """The question above the options, and the options by letter."""
    question, listing = goal.split("\nOptions:\n")
    pairs = [parsed(r"\(([A-Z])\) (.+)", line) for line in listing.split("\n")]
    letters = [letter for letter, _ in pairs]
    assert letters == [chr(ord("A") + index) for index in range(len(pairs))]
    assert len({text for _, text in pairs}) == len(pairs), "an option stands there twice"
    return question, dict(pairs)


def letter_of(options: dict[str, str], answer: str) -> str:
    (letter,) = [letter for letter, text in options.items() if text == answer]
    return f"({letter})"


# Solvers


def boolean_expressions(goal: str) -> str:
    """Recursive descent: or, below it and, below it not."""
    tokens = goal.split()
    assert tokens.pop() == "is"

    def disjunction() -> bool:
        value = conjunction()
        while tokens and tokens[0] == "or":
            tokens.pop(0)
            right = conjunction()
            value = value or right
        return value

    def conjunction() -> bool:
        value = negation()
        while tokens and tokens[0] == "and":
            tokens.pop(0)
            right = negation()
            value = value and right
        return value

    def negation() -> bool:
        token = tokens.pop(0)
        if token == "not":
            return not negation()
        if token == "(":
            value = disjunction()
            assert tokens.pop(0) == ")"
            return value
        return {"True": True, "False": False}[token]

    answer = disjunction()
    assert not tokens
    return str(answer)


def multistep_arithmetic_two(goal: str) -> str:
    """Recursive descent: sums, below them products; a minus touching its number is a sign."""
    (text,) = parsed(r"(.+) =", goal)
    tokens = re.findall(r"-?\d+|[-+*()]", text)
    assert "".join(tokens) == text.replace(" ", "")

    def total() -> int:
        value = product()
        while tokens and tokens[0] in "+-":
            value += product() if tokens.pop(0) == "+" else -product()
        return value

    def product() -> int:
        value = atom()
        while tokens and tokens[0] == "*":
            tokens.pop(0)
            value *= atom()
        return value

    def atom() -> int:
        token = tokens.pop(0)
        if token != "(":
            return int(token)
        value = total()
        assert tokens.pop(0) == ")"
        return value

    answer = total()
    assert not tokens
    return str(answer)


KINDS = {
    "fruits": "apple apples apricot apricots banana bananas kiwi kiwis lemon lemons mango mangoes "
    "orange oranges peach peaches pear pears plum plums",
    "vegetables": "cabbage cabbages carrot carrots cucumber cucumbers leek leeks onion onions "
    "pumpkin pumpkins radish radishes turnip turnips",
    "animals": "cat cats dog dogs donkey donkeys duck ducks goat goats hamster hamsters horse "
    "horses parrot parrots rabbit rabbits sheep",
    "musical instruments": "banjo banjos cello cellos drum drums flute flutes guitar guitars harp "
    "harps trumpet trumpets violin violins",
    "pieces of furniture": "bench benches chair chairs cupboard cupboards desk desks sofa sofas "
    "stool stools table tables wardrobe wardrobes",
    "vehicles": "bicycle bicycles bus buses motorbike motorbikes scooter scooters tractor "
    "tractors tram trams truck trucks van vans",
}
KIND_OF = {noun: kind for kind, nouns in KINDS.items() for noun in nouns.split()}


def object_counting(goal: str) -> str:
    listing, asked = parsed(r"(.+)\. How many ([a-z ]+) are there\?", goal)
    found = re.findall(r"\b(an?|one|two|three|four|five|six) (\w+)", listing)
    # The words that open the sentence hold no number, so each part of the list gives one pair.
    assert len(found) == len(things_in(listing))
    return str(sum(NUMBERS[number] for number, noun in found if KIND_OF[noun] == asked))


def one_step_arithmetic(goal: str) -> str:
    """Sum, difference or product: the words that tell must agree on one."""
    a, b = map(int, re.findall(r"\d+", goal))
    tells = {
        "+": r"\bmore\b|\btogether\b|\badds\b",
        "-": r"\bgives\b|\beats\b|\balready has\b",
        "*": r"\bbags with\b|\bEach of\b",
    }
    (operation,) = [name for name, words in tells.items() if re.search(words, goal)]
    answer = {"+": a + b, "-": a - b, "*": a * b}[operation]
    assert answer > 0
    return str(answer)


def navigate(goal: str) -> str:
    """Walks on whole coordinates, turning a direction vector."""
    orders, _ = parsed(
        r"You stand in a field and follow these orders: (.+) Do you end where you began\?"
        r"(\nOptions:\n- Yes\n- No)",
        goal,
    )
    x, y = 0, 0
    ahead = (0, 1)
    fixed = False
    for order in re.findall(r"[^.]+\.", orders):
        order = order.strip()
        dx, dy = ahead
        if order == "Keep looking the same way all the time.":
            fixed = True
        elif order in ("Turn left.", "Turn right.", "Turn around."):
            assert not fixed
            turned = {"left": (-dy, dx), "right": (dy, -dx), "around": (-dx, -dy)}
            ahead = turned[order[5:-1]]
        else:
            number, noun, way = parsed(r"Take (\d+) (steps?)(?: (\w+))?\.", order)
            assert (noun == "step") == (number == "1") and bool(way) == fixed
            move = {
                None: (dx, dy),
                "forward": (0, 1),
                "backward": (0, -1),
                "left": (-1, 0),
                "right": (1, 0),
            }[way]
            x, y = x + int(number) * move[0], y + int(number) * move[1]
    return "Yes" if (x, y) == (0, 0) else "No"


def web_of_lies(goal: str) -> str:
    """Tries every way of people being liars; only the answer's value may remain."""
    story, asked = parsed(
        r"Everybody here either always lies or never does\. (.+) Does (\w+) tell the truth\?", goal
    )
    first, *claims = re.findall(r"[^.]+\.", story)
    known, verdict = parsed(r"(\w+) (tells the truth|lies)\.", first)
    said = [parsed(r" (\w+) says (\w+) (tells the truth|lies)\.", claim) for claim in claims]
    people = sorted({known, *(name for claim in said for name in claim[:2])})
    answers = set()
    for values in itertools.product((False, True), repeat=len(people)):
        honest = dict(zip(people, values, strict=True))
        if honest[known] == (verdict != "lies") and all(
            honest[speaker] == (honest[other] == (claim != "lies"))
            for speaker, other, claim in said
        ):
            answers.add(honest[asked])
    (answer,) = answers
    return "Yes" if answer else "No"


def tracking_shuffled_objects(goal: str) -> str:
    """Goes through the swaps backwards: who had at first what the asked one has in the end?"""
    question, options = options_of(goal)
    begin, told, holder = parsed(
        r"[\w ]+: at first (.+)\. Then they begin to swap\. (.+) In the end (\w+) has the", question
    )
    first = dict(parsed(r"(\w+) has the (.+)", part) for part in things_in(begin))
    assert sorted(first.values()) == sorted(options.values())
    swaps = [
        parsed(r"(?:First|Then|Finally), (\w+) and (\w+) swap \w+\.", sentence.strip())
        for sentence in re.findall(r"[^.]+\.", told)
    ]
    assert len(swaps) == len(first)
    for a, b in reversed(swaps):
        assert a != b and {a, b} <= first.keys()
        holder = {a: b, b: a}.get(holder, holder)
    return letter_of(options, first[holder])


def logical_deduction(goal: str) -> str:
    """Fills the places from left to right, giving up early; there must be one way only."""
    question, options = options_of(goal)
    number, listing, story, nth, side = parsed(
        r"On a shelf (\w+) things stand side by side: ([^.]+)\. (.+) "
        r"Which thing is the (\w+) from the (left|right)\?",
        question,
    )
    things = [thing.removeprefix("a ") for thing in things_in(listing)]
    size = len(things)
    assert len(set(things)) == size == {"three": 3, "five": 5, "seven": 7}[number]
    assert sorted(options.values()) == sorted(f"The {thing}" for thing in things)

    def index(nth: str, side: str) -> int:
        return ORDINALS[nth] if side == "left" else size - 1 - ORDINALS[nth]

    asked = index(nth, side)
    fixed: dict[int, str] = {}
    before: list[tuple[str, str]] = []
    for clue in re.findall(r"[^.]+\.", story):
        clue = clue.strip()
        if match := re.fullmatch(r"The (\w+) stands at the (left|right) end\.", clue):
            fixed[0 if match[2] == "left" else size - 1] = match[1]
        elif match := re.fullmatch(r"The (\w+) is the (\w+) from the (left|right)\.", clue):
            fixed[index(match[2], match[3])] = match[1]
        else:
            a, way, b = parsed(r"The (\w+) is to the (left|right) of the (\w+)\.", clue)
            before.append((a, b) if way == "left" else (b, a))
    assert asked not in fixed, "a clue gives the answer away"

    def orders(row: tuple[str, ...]) -> list[tuple[str, ...]]:
        if len(row) == size:
            return [row]
        found = []
        for thing in things:
            fits = thing not in row and fixed.get(len(row), thing) == thing
            if fits and all(a in row for a, b in before if b == thing):
                found += orders((*row, thing))
        return found

    (order,) = orders(())
    return letter_of(options, f"The {order[asked]}")


def word_sorting(goal: str) -> str:
    """Takes the least word again and again."""
    (listing,) = parsed(r"Put these words into alphabetical order\. List: ([a-z ]+)", goal)
    words = listing.split(" ")
    assert len(set(words)) == len(words) >= 2
    answer = []
    while words:
        answer.append(words.pop(words.index(min(words))))
    return " ".join(answer)


def dyck_languages(goal: str) -> str:
    """Strikes out closed pairs until none is left; what remains is open."""
    (text,) = parsed(r"Write the brackets .+ right order\. Input: ([][(){}<> ]+)", goal)
    rest, before = text.replace(" ", ""), ""
    while rest != before:
        before = rest
        for pair in ("()", "[]", "{}", "<>"):
            rest = rest.replace(pair, "")
    assert rest and set(rest) <= set("([{<")
    return " ".join(rest[::-1].translate(str.maketrans("([{<", ")]}>")))


def hour(text: str) -> int:
    number, half = parsed(r"(\d+)(am|pm)", text)
    return int(number) % 12 + (12 if half == "pm" else 0)


def hours(text: str) -> set[int]:
    """The hours of ``9am to 11am``, each by its beginning."""
    begin, end = text.split(" to ")
    return set(range(hour(begin), hour(end)))


def temporal_sequences(goal: str) -> str:
    """Strikes the busy hours off the day; one option alone may consist of free ones."""
    question, options = options_of(goal)
    person, up, bed, story, same = parsed(
        r"(\w+) got up at (\w+) and went to bed at (\w+)\. (.+) When can (\w+) have visited a "
        r"friend, whose door was open all day\?",
        question,
    )
    assert person == same
    free = hours(f"{up} to {bed}")
    for sentence in re.findall(r"[^.]+\.", story):
        span, who = parsed(r"From (\w+ to \w+) (\w+) was [\w ]+\.", sentence.strip())
        assert who == person and hours(span) <= free, "one cannot be at two places"
        free -= hours(span)
    (letter,) = [letter for letter, span in options.items() if hours(span) <= free]
    assert hours(options[letter]) == free
    return f"({letter})"


def date_understanding(goal: str) -> str:
    """Through the calendar's day numbers, from the sentence's own distance words."""
    question, options = options_of(goal)
    told, day, month, year, asked = parsed(
        r"(.+) (\d+) (\w+) (\d{4})\. (.+), written as MM/DD/YYYY\?", question
    )
    known = date(int(year), list(calendar.month_name).index(month), int(day))
    since = {
        "Today is": 0,
        "Yesterday was": -1,
        "Tomorrow will be": 1,
        "Two days ago it was": -2,
    }[told]
    later = {
        "What is the date today": 0,
        "What was the date yesterday": -1,
        "What will the date be tomorrow": 1,
        "What was the date a week ago": -7,
        "What will the date be in a week": 7,
        "What will the date be in 10 days": 10,
    }[asked]
    answer = known + timedelta(days=later - since)
    dates = {letter: datetime.strptime(text, "%m/%d/%Y").date() for letter, text in options.items()}
    (letter,) = [letter for letter, option in dates.items() if option == answer]
    return f"({letter})"


def reasoning_about_colored_objects(goal: str) -> str:
    text, options = options_of(goal)
    listing, question = parsed(
        r"On the [\w ]+, from left to right, there are these things: ([^.]+)\. (.+)", text
    )
    row = [parsed(r"an? (\w+) (\w+)", part) for part in things_in(listing)]
    names = [name for _, name in row]
    assert len(set(names)) == len(names)
    colour_of = {name: colour for colour, name in row}

    def place(name: str) -> int:
        return names.index(name)

    if match := re.fullmatch(r"What colour is the (\w+)\?", question):
        return letter_of(options, colour_of[match[1]])
    if match := re.fullmatch(
        r"What colour is the thing directly to the (left|right) of the (\w+)\?", question
    ):
        at = place(match[2]) + (1 if match[1] == "right" else -1)
        assert 0 <= at < len(row)
        return letter_of(options, row[at][0])
    if match := re.fullmatch(r"How many of them are (\w+)\?", question):
        chosen = [name for name in names if colour_of[name] == match[1]]
    elif match := re.fullmatch(r"How many of them are neither (\w+) nor (\w+)\?", question):
        chosen = [name for name in names if colour_of[name] not in (match[1], match[2])]
    else:
        side, beside, colour = parsed(
            r"How many of the things to the (left|right) of the (\w+) are not (\w+)\?", question
        )
        chosen = [
            name
            for name in names
            if colour_of[name] != colour
            and (place(name) > place(beside) if side == "right" else place(name) < place(beside))
        ]
    (word,) = [word for word, number in NUMBERS.items() if number == len(chosen) and len(word) > 2]
    return letter_of(options, word)


SOLVERS: dict[str, Callable[[str], str]] = {
    solver.__name__: solver
    for solver in (
        boolean_expressions,
        date_understanding,
        dyck_languages,
        multistep_arithmetic_two,
        navigate,
        object_counting,
        one_step_arithmetic,
        reasoning_about_colored_objects,
        temporal_sequences,
        web_of_lies,
        word_sorting,
    )
} | {
    f"{name}_{size}_objects": solver
    for name, solver in (
        ("logical_deduction", logical_deduction),
        ("tracking_shuffled_objects", tracking_shuffled_objects),
    )
    for size in ("three", "five", "seven")
}

# How often the commonest answer may come, where the answers are not letters of own options.
COMMONEST = {
    "boolean_expressions": 0.56,
    "navigate": 0.56,
    "web_of_lies": 0.56,
    "reasoning_about_colored_objects": 0.3,
}


def rows_of(task: str) -> list[dict[str, str]]:
    with (FOLDER / f"{task}.json").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


each_task = pytest.mark.parametrize("task", sorted(SOLVERS))


def test_every_task_has_a_solver_and_a_file() -> None:
    assert set(SOLVERS) == set(TASKS)
    assert {path.stem for path in FOLDER.glob("*.json")} == set(TASKS)


@each_task
def test_answers_follow_from_the_question(task: str) -> None:
    wrong = [
        (row["goal"], row["target"], answer)
        for row in rows_of(task)
        if (answer := SOLVERS[task](row["goal"])) != row["target"]
    ]
    assert not wrong, f"{len(wrong)} wrong answers, the first: {wrong[0]}"


@each_task
def test_form_of_the_file(task: str) -> None:
    raw = (FOLDER / f"{task}.json").read_bytes()
    assert raw.startswith(b"goal,target,final_target\n") and raw.endswith(b"\n")
    assert b"\r" not in raw
    rows = rows_of(task)
    assert len(rows) == 250
    assert len({row["goal"] for row in rows}) == 250
    for row in rows:
        assert set(row) == {"goal", "target", "final_target"}
        assert all(cell and cell == cell.strip() for cell in row.values())
        bare = re.sub(r"^\(([A-Z])\)$", r"\1", row["target"])
        assert row["final_target"] == bare
    # Quoted only where needed: writing the cells again gives the same bytes.
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writeheader()
    writer.writerows(rows)
    assert out.getvalue().encode() == raw


@each_task
def test_answers_are_balanced(task: str) -> None:
    rows = rows_of(task)
    answers = Counter(row["target"] for row in rows)
    commonest = max(answers.values()) / len(rows)
    if task in COMMONEST:
        assert commonest <= COMMONEST[task]
    elif re.fullmatch(r"\([A-Z]\)", rows[0]["target"]):
        (number,) = {len(options_of(row["goal"])[1]) for row in rows}
        shares = [answers[f"({chr(ord('A') + index)})"] * number / 250 for index in range(number)]
        assert 0.6 < min(shares) <= max(shares) < 1.5, shares
    else:
        assert commonest <= 0.2


@each_task
def test_the_loader_reads_the_file(task: str) -> None:
    examples = read_table(FOLDER / f"{task}.json").examples
    assert [(example.question, example.answer) for example in examples] == [
        (row["goal"], row["final_target"]) for row in rows_of(task)
    ]


def generate(*arguments: object) -> int:
    return main([str(argument) for argument in arguments], "greater generate-data")


def test_check_passes_on_the_committed_files_whatever_the_hash_seed() -> None:
    # A fresh process with another hash seed: an order taken from a set would come out here.
    done = subprocess.run(
        [Path(sys.executable).with_name("greater"), "generate-data", "--check"],
        env=os.environ | {"PYTHONHASHSEED": "12345"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


def test_check_names_what_differs_and_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("navigate", "word_sorting", "dyck_languages")
    for name in names:
        shutil.copy(FOLDER / f"{name}.json", tmp_path)
    assert generate("--check", "--out", tmp_path, *names) == 0
    changed = tmp_path / "navigate.json"
    changed.write_bytes(changed.read_bytes().replace(b",No,No\n", b",Yes,Yes\n", 1))
    (tmp_path / "word_sorting.json").unlink()
    capsys.readouterr()
    before = changed.read_bytes()
    assert generate("--check", "--out", tmp_path, *names) == 1
    said = "".join(capsys.readouterr())
    assert "navigate.json" in said and "word_sorting.json" in said
    assert "dyck_languages" not in said
    assert changed.read_bytes() == before and not (tmp_path / "word_sorting.json").exists()


def test_only_the_named_tasks_are_written_and_nothing_is_left_over(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    assert generate("--out", out, "web_of_lies", "one_step_arithmetic") == 0
    assert sorted(os.listdir(out)) == ["one_step_arithmetic.json", "web_of_lies.json"]
    assert (out / "web_of_lies.json").read_bytes() == table("web_of_lies").encode()
    assert table("web_of_lies") == table("web_of_lies")


def test_an_unknown_task_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        generate("--out", tmp_path, "navigatte")
    assert stopped.value.code == 2
    assert "navigatte" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
