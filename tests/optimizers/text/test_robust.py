"""Robust: votes by hand, that the target's answers are never looked at, what both groups decide."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from prompt_optimization.errors import InputError
from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.model import Model
from prompt_optimization.models.role_settings import WriterSettings
from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.robust.search import Deal, Robust
from prompt_optimization.optimizers.robust.settings import RobustSettings
from prompt_optimization.optimizers.robust.vote import leading, needed, precision
from prompt_optimization.runs.config import plan
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.run import run
from prompt_optimization.runs.store.replies import ReplyLog
from prompt_optimization.scoring.finalists import Ensemble, Text
from prompt_optimization.scoring.held_out import HeldOut
from prompt_optimization.scoring.scorer import Scorer
from prompt_optimization.scoring.writing import CountedWriter
from prompt_optimization.tasks.answers import stated_answer
from prompt_optimization.tasks.examples import Example
from tests.optimizers.text.planted import START, RuleModel
from tests.runs.harness import values
from tests.writers import ScriptedWriter, script_writers

GROUPS = {"source": "a", "target": "b"}
ROWS = 20


def test_needed_votes() -> None:
    assert [needed(t, 6) for t in (0.8, 0.83, 0.33, 0.5, 1.0, 0.01)] == [5, 5, 2, 3, 6, 1]
    assert needed(0.2, 5) == 1 and needed(0.6, 5) == 3  # products that rounding lifts


def test_who_leads() -> None:
    assert leading(["Yes", "yes ", "No", "", "Yes"]) == ("Yes", 3)
    assert leading(["4"] * 6) == ("4", 6)  # copies of one prompt vote like it
    assert leading(["", ""]) == ("", 0)
    assert leading(["4", "5", "5", "4"]) == ("", 2)
    assert leading(["4", "5", "5", "4"], ties=True) == ("4", 2)


def test_precision_by_threshold() -> None:
    found = precision([2, 1, 0, 2], [True, False, False, False], 2)
    assert [(each["votes"], each["kept"], each["coverage"]) for each in found] == [
        (1, 3, 0.75),
        (2, 2, 0.5),
    ]
    assert [each["right"]["value"] for each in found] == pytest.approx([1 / 3, 1 / 2])
    assert precision([0], [False], 1)[0]["right"] is None


@pytest.mark.parametrize(
    ("text", "answers", "stated"),
    [
        ("12 apples. Tom", ["3", "4"], "12"),
        ("3 * 4 = 12", ["3"], "12"),
        ("2.5 of them", ["3"], "2.5"),
        ("no idea", ["3"], ""),
        ("(E) the last", ["A", "B"], "E"),
        ("yes, it is", ["No", "Yes"], "Yes"),
        ("perhaps", ["No", "Yes"], ""),
        ("red", ["blue", "green"], "red"),
        ("a text that is much longer", ["blue", "green"], ""),
    ],
)
def test_what_a_text_states_in_the_form_of_the_answers(
    text: str, answers: list[str], stated: str
) -> None:
    assert stated_answer(text, answers) == stated


def test_a_deal_comes_round_before_it_repeats() -> None:
    deal = Deal(range(5), random.Random(0))
    taken = [deal.next(2) for _ in range(5)]
    assert sorted([*taken[0], *taken[1], taken[2][0]]) == [0, 1, 2, 3, 4]
    assert all(len({*pair}) == 2 for pair in taken)
    assert sorted(deal.next(9)) == [0, 1, 2, 3, 4] and Deal([], random.Random(0)).next(2) == []


# (the prompt's words, number of the question) -> what is answered.
Answers = Callable[[set[str], int], str]


class GroupedModel(RuleModel):
    """Answers by a rule that knows no labels."""

    def __init__(self, answers: Answers, examples: Sequence[Example]) -> None:
        super().__init__(lambda words, number: True, 1)
        self.answers = answers
        self.examples = tuple(examples)

    def _outcome(self, words: set[str], example: int) -> Outcome:
        return Outcome((), 1.0, True, 0.0, self.answers(words, example))


def rows(target: Callable[[int], str]) -> list[Example]:
    """Even rows are the source's, odd ones the target's, which have these answers."""
    return [
        Example(f"What is {i}?", target(i) if i % 2 else str(i), i, group="ab"[i % 2])
        for i in range(ROWS)
    ]


def answers(words: set[str], number: int) -> str:
    """Prompts with *src* know the source. The target's questions are known to those with *both*,
    and every third of them to all others too."""
    knows = {"both", "src"} if number % 2 == 0 else {"both", "most"}
    return str(number if words & knows or number % 3 == 0 else 99 + len(words) * number)


def script(request: Request, number: int) -> str:
    """Source prompts know most; those that see a labelled row know both groups."""
    rng = random.Random(request.seed)
    seen = [int(word.strip("?")) for word in request.user.split() if word.strip("?").isdigit()]
    kind = "both" if any(each % 2 for each in seen) and "not known" not in request.user else "most"
    return f"<prompt>{kind} src {rng.randrange(10**6)}</prompt>"


def search_on(
    examples: Sequence[Example], written: Any = script, told: Answers = answers, **settings: Any
) -> tuple[Robust, ScriptedWriter]:
    model = GroupedModel(told, examples)
    scorer = Scorer([cast(Model, model)], Decoding(4, 4), objective="answers", nll_weight=0.0)
    writer = ScriptedWriter(written)
    own = WriterSettings.default(parse_retries=0)
    counted = CountedWriter(writer, own, scorer, ReplyLog(None))
    tools = Tools(random.Random(0), 100, writer=counted)
    search = Robust(RobustSettings.default(**GROUPS, **settings), scorer, tools)
    search.start(START)
    return search, writer


def steps_of(search: Robust) -> list[Step]:
    found = []
    while step := search.step():
        found.append(step)
    return found


def test_three_steps_label_the_target_and_find_what_holds_on_both() -> None:
    search, writer = search_on(rows(str))
    first, second, third = steps_of(search)
    assert [each.details["stage"] for each in (first, second, third)] == [
        "source", "inputs", "mixture",
    ]  # fmt: skip
    assert [len(wave) for wave in writer.waves] == [6, 6, 6]
    labels = third.details["labels"]
    assert (labels["prompts"], labels["needed"], labels["kept"]) == (6, 5, 10)
    assert labels["labels"] == [str(i) for i in range(1, ROWS, 2)]
    assert labels["precision"][-1]["right"]["value"] == 1.0
    assert "10 of 10 rows of 'b' got a label by at least 5 of 6 votes; 100 %" in third.events[0]
    # Every request of the last step shows three rows of each group; the second shows questions.
    for request in writer.waves[2]:
        seen = [
            int(line[:-1].split()[-1]) for line in request.user.splitlines() if "What is" in line
        ]
        assert [sum(each % 2 == odd for each in seen) for odd in (0, 1)] == [3, 3]
    assert all(request.user.count("\nAnswer: ") == 6 for wave in writer.waves for request in wave)
    assert search.grown == 2 and search.incumbent.scored.rows == ROWS
    assert search.incumbent.scored.wrong == 0 and search.initial.scored.wrong == pytest.approx(0.65)
    assert list(search.contenders()) == ["source only", "source and inputs", "robust", "ensemble"]
    assert isinstance(search.finalists()[-1], Ensemble)


def told_apart(step: Step) -> list[Any]:
    """A step without what it reports of known labels."""
    labels = {k: v for k, v in step.details.get("labels", {}).items() if k != "precision"}
    details = {k: v for k, v in step.details.items() if k != "labels"}
    events = [event.partition(";")[0] for event in step.events]
    return [
        [(each.label, each.scored) for each in step.tried],
        step.accepted,
        details,
        labels,
        events,
    ]


@pytest.mark.parametrize("select", ["mean", "worst"])
def test_answers_of_the_target_change_nothing_but_the_report(select: str) -> None:
    seen, told, reports = [], [], []
    for target in (str, lambda i: str(ROWS - i), lambda i: ""):
        search, writer = search_on(rows(target), select=select)
        steps = steps_of(search)
        seen.append([told_apart(step) for step in steps])
        told.append(writer.waves)
        reports.append(steps[-1].details["labels"].get("precision"))
        chosen = [each.name for each in search.finalists()]
        seen[-1].append(chosen)
    assert seen[0] == seen[1] == seen[2] and told[0] == told[1] == told[2]
    assert reports[0] != reports[1] and reports[2] is None


def test_an_upper_bound_knows_the_targets_answers_and_is_no_finalist() -> None:
    def hidden(i: int) -> str:  # No vote finds these.
        return str(1000 + i) if i % 2 else str(i)

    def answering(words: set[str], number: int) -> str:
        known = "hidden" in words and number % 2
        return hidden(number) if known else answers(words, number)

    def writing(request: Request, number: int) -> str:
        return (
            "<prompt>hidden src</prompt>"
            if "\nAnswer: 10" in request.user and "\nAnswer: 100" in request.user
            else script(request, 0)
        )

    without, _ = search_on(rows(hidden), written=writing, told=answering)
    before = steps_of(without)
    search, writer = search_on(rows(hidden), written=writing, told=answering, bound=True)
    *same, last = steps_of(search)
    # Nothing that stands for election, is counted or is limited depends on it.
    assert [told_apart(each) for each in same] == [told_apart(each) for each in before]
    assert [each.name for each in search.finalists()] == [e.name for e in without.finalists()]
    ledger, spent = search.scorer.ledger, without.scorer.ledger
    assert ledger.evaluations == spent.evaluations and ledger.requests == spent.requests == 18
    assert ledger.tokens["asked"] == spent.tokens["asked"] and ledger.apart is not None
    assert ledger.apart.requests == 6 and ledger.apart.evaluations >= ROWS
    assert ledger.apart.tokens["asked"] == sum(len(e.user.split()) for e in writer.waves[-1])
    # It is the best there is for who knows the answers.
    assert search.bound == " hidden src" == last.details["bound"]["prompt"]
    assert last.details["bound"]["lacks"] == 0 and not last.accepted and not last.tried
    assert search.contenders()["upper bound"] == Text(" hidden src")
    assert "cannot be elected, and its cost is counted apart" in last.events[0]
    assert last.details["proposals"][0]["fate"] == "bound"
    other, _ = search_on(rows(hidden), bound=True)
    other.load_state_dict(search.state_dict())
    assert other.bound == search.bound and other.step() is None


def test_no_budget_ends_an_upper_bound(tmp_path: Path) -> None:
    path = tmp_path / "pool.txt"
    path.write_text("src one\nboth two\nboth three\nmost src\n")
    search, writer = search_on(rows(str), pool=str(path), bound=True, threshold=0.7)
    assert search.step() and search.step()
    search.scorer.limit = lambda: "a budget is spent"
    assert search.step() and "both" in search.bound and not writer.waves
    assert search.scorer.limit() == "a budget is spent"


def test_too_few_labels_leave_the_source_alone() -> None:
    def disagreeing(words: set[str], number: int) -> str:
        own = next((word for word in words if word.isdigit()), "0")
        return answers(words, number) if number % 2 == 0 else own

    search, _ = search_on(rows(str), told=disagreeing)
    third = steps_of(search)[-1]
    assert (
        not third.tried
        and not search.weights
        and "fewer than 8: the source alone" in third.events[0]
    )
    assert search.incumbent.scored.rows == ROWS / 2
    assert "robust" not in search.contenders()


def test_a_pool_is_raced_without_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pool.txt"
    path.write_text("src one\nboth two\nboth three\nboth most\n")
    search, writer = search_on(rows(str), pool=str(path), threshold=0.7)
    first, second = steps_of(search)
    assert not writer.waves and len(first.tried) == 4 and second.details["labels"]["needed"] == 3
    assert "both" in search.incumbent.text and search.incumbent.scored.wrong == 0
    assert list(search.contenders()) == ["source only", "robust", "ensemble"]


def test_a_state_brings_the_labels_back() -> None:
    search, _ = search_on(rows(str))
    steps_of(search)
    other, _ = search_on(rows(str))
    other.load_state_dict(search.state_dict())
    assert other.scorer.examples == search.scorer.examples
    assert [e.scored for e in other.leaderboard.entries] == [
        e.scored for e in search.leaderboard.entries
    ]
    (before,) = search.scorer.score([START])
    (after,) = other.scorer.score([START])
    assert before == after


def test_the_worse_group_may_decide() -> None:
    search, _ = search_on(rows(str), select="worst")
    steps_of(search)
    initial = search.initial.scored
    # By chance a third of each group is right; the objective is that of the worse one.
    parts = [search._lack(START, rows) for rows in (search.source, search.labelled)]
    assert initial.objective == max(parts) and initial.wrong == pytest.approx(sum(parts) / 2)


@pytest.mark.parametrize("balance", ["weight", "repeat"])
def test_labelled_rows_weigh_as_much_as_the_source(balance: str) -> None:
    search, _ = search_on(rows(str), balance=balance)
    search._weigh([1, 3, 5, 7])
    weights = list(search.weights.values())
    assert sum(weights) == pytest.approx(10)
    assert weights == ([2.5] * 4 if balance == "weight" else [3.0, 3.0, 2.0, 2.0])


def test_dev_elects_without_the_targets_answers() -> None:
    search, _ = search_on(rows(str))
    steps_of(search)
    best = search.incumbent.text

    def result(source: list[float], target: list[float]) -> HeldOut:
        groups = ["a"] * len(source) + ["b"] * len(target)
        return HeldOut(best, {"strict": [*source, *target]}, 1.0, groups=groups)

    rank = search.dev_rank
    assert rank(Text(best), result([1, 0], [0, 0])) == rank(Text(best), result([1, 0], [1, 1]))
    assert rank(Text(best), result([1, 1], [0])) < rank(Text(best), result([1, 0], [1]))
    # What the training rows say of the target counts as much.
    assert rank(Text(best), result([1, 0], [0])) == pytest.approx((0.25,))
    assert rank(Text(START), result([1, 0], [0])) > rank(Text(best), result([1, 0], [0]))
    assert rank(search.finalists()[-1], result([1, 1], [0])) == (0.0,)


def test_contenders_stand_on_the_screen_and_in_the_report(
    small_run: dict[str, Any], grouped_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prompt_optimization.report.measured import read_results
    from prompt_optimization.report.tables import contenders, source_and_target

    script_writers(monkeypatch)
    flags = small_run | {
        "method": "robust",
        "train_data": grouped_file,
        "robust.source": "0",
        "robust.target": "1",
        "robust.min_rows": 1,
        "robust.prompts": 2,
        "robust.bound": True,
        "n_dev_data": 2,
        "n_test_data": 4,
        "max_new_tokens": 5,
        "answer_tokens": 4,
        "result_prefix": tmp_path / "run",
    }
    screen = io.StringIO()
    log = run(values(flags), Display(console=Console(file=screen, width=80))).data
    names = ["source only", "source and inputs"]
    assert list(log["evaluation"]["test"]["contenders"])[:2] == names
    lines = [line for line in screen.getvalue().splitlines() if "source and inputs" in line]
    assert len(lines) >= 3 and all(len(line) <= 80 and "[" in line for line in lines)
    table = contenders(read_results(tmp_path)).data
    assert set(table["contender"]) >= {"initial", *names}
    assert set(table["group"]) == {"0", "1", "all"}
    # What is lost on the source and gained on the target, beside two other prompts.
    test = log["evaluation"]["test"]
    assert "upper bound" in test["contenders"] and test["baseline"] == "source only"
    shown = [line for line in screen.getvalue().splitlines() if "upper bound" in line]
    assert any("source only" in line for line in shown)
    assert "apart from it" in screen.getvalue()
    table = source_and_target(read_results(tmp_path)).data
    pairs = {(line.prompt, line.against) for line in table.itertuples()}
    assert {("elected", "initial"), ("elected", "source only")} <= pairs
    assert ("source only", "initial") in pairs and ("source only", "source only") not in pairs
    own = table[(table.prompt == "upper bound") & (table.against == "source only")]
    record = test["contenders"]["upper bound"]["to_baseline_by_group"]
    for group, part, sign in (("0", "source loss", -1), ("1", "target gain", 1)):
        (line,) = own[own.part == part].itertuples()
        assert line.measured == pytest.approx(sign * 100 * record[group]["strict"]["value"])
        assert line.low <= line.measured <= line.high


@pytest.mark.parametrize(
    ("settings", "words", "key"),
    [
        ({"source": ""}, "no source group", "robust.source"),
        ({"target": "a"}, "source and target are both 'a'", "robust.source"),
        ({"threshold": 0.0}, "0.0 is too small", "robust.threshold"),
        ({"threshold": 1.5}, "1.5 is too large", "robust.threshold"),
        ({"prompts": 0}, "0 is too small", "robust.prompts"),
        ({"min_rows": 0}, "0 is too small", "robust.min_rows"),
        ({"pool": "/nowhere"}, "cannot be read", "robust.pool"),
        ({"select": "best"}, "'best' is unknown", "robust.select"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], words: str, key: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        RobustSettings.default(**(GROUPS | settings))
    assert caught.value.keys[0] == key


def test_the_papers_own_name_is_understood(small_run: dict[str, Any]) -> None:
    flags = small_run | {"method": "gpo_shift", "robust.source": "a", "robust.target": "b"}
    assert plan(values(flags)).params["method"] == "robust"


def test_rows_that_are_refused() -> None:
    settings = RobustSettings.default(**GROUPS)
    settings.check_examples(rows(lambda i: ""))
    bare = [replace(each, answer="") for each in rows(str)]
    for examples, words in (
        ([replace(each, group="") for each in bare], "have no column 'group'"),
        ([replace(each, group="bb") for each in bare], "none of the 20 training rows is in the"),
        (rows(str)[::2], "is in the group 'b'"),
        (bare, "row 0 of the source 'a' has no answer"),
        (rows(str)[:6], "8 labelled rows are demanded and the target 'b' has 3"),
    ):
        with pytest.raises(InputError, match=words):
            settings.check_examples(examples)
