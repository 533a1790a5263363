"""SPO: what the judge's ballots decide, that right answers are not looked at, what is refused."""

from __future__ import annotations

import csv
import json
import math
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.role_settings import JudgeSettings, WriterSettings
from prompt_optimization.models.writers import Answered, Reply, Request
from prompt_optimization.optimizers.spo.judge import (
    Tally,
    ballot,
    choice_of,
    consistency,
    leaning,
    repetition,
    verdict,
)
from prompt_optimization.optimizers.spo.search import Spo
from prompt_optimization.optimizers.spo.settings import SpoSettings
from prompt_optimization.runs.config import advice, plan
from prompt_optimization.runs.store.replies import replies_path
from tests.conftest import QUESTIONS
from tests.optimizers.text.planted import START, costs_of, different, planted
from tests.runs.harness import carry_out, values
from tests.writers import ScriptedWriter, script_writers

# Accuracies of prompts with these words: how many of ten questions they answer rightly.
POOL = {"one": 1, "five": 5, "nine": 9, "two": 2, "eight": 8, "ten": 10, "three": 3, "six": 6}


def by_word(words: set[str], question: int) -> bool:
    return question < max((POOL[word] for word in words if word in POOL), default=4)


def prefers_yes(request: Request, number: int) -> str:
    """A judge that looks for *Yes*, and a writer of new prompts."""
    if "Two answers are compared." not in request.user:
        return different(request, number)
    first, second = re.findall(r"Final answer: (\w+)", request.user)
    if first == second:
        return "<choice>A</choice>"
    return f"<choice>{'A' if first == 'Yes' else 'B'}</choice>"


def spo(
    rule: Any = by_word, script: Any = prefers_yes, seed: int = 0, **settings: Any
) -> tuple[Spo, ScriptedWriter]:
    own = {"questions": 10} | settings
    return planted(
        Spo, SpoSettings.default(**own), rule=rule, script=script, questions=10, seed=seed
    )


def pool_file(folder: Path) -> Path:
    path = folder / "pool.txt"
    path.write_text("\n".join(POOL))
    return path


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("Better. <choice>A</choice>", "A"),
        ("<choice>A</choice> no, <choice> b </choice>", "B"),
        ("<choice>both</choice>", None),
        ("B", None),
        ("", None),
        ("<think>A?", None),
    ],
)
def test_a_choice_stands_in_tags(reply: str, choice: str | None) -> None:
    assert choice_of(reply) == choice


def test_a_reply_of_a_small_model_is_read_whole() -> None:
    assert choice_of("(B) is better.", raw=True) == "B"
    assert choice_of("It is hard to say.", raw=True) is None


def test_a_unit_takes_more_than_half_of_its_ballots() -> None:
    assert [ballot("A", True), ballot("B", True), ballot("A", False), ballot(None, True)] == [
        1, -1, -1, 0,
    ]  # fmt: skip
    assert verdict([1, 1]) == 1 and verdict([1, -1]) == verdict([1, 0]) == 0
    assert verdict([1, 1, 1, -1]) == verdict([1, 1, 1, 0]) == 1
    assert verdict([1, 1, 0, 0]) == 0 and verdict([-1, -1, -1, 1]) == -1


def test_what_is_accepted() -> None:
    won = Tally.of([[1, 1], [1, -1], [1, 0]])
    assert (won.wins, won.losses, won.ties, won.unusable, won.ballots) == (1, 0, 2, 1, 6)
    assert won.accepts("majority", 0.05) and won.margin == pytest.approx(1 / 3)
    assert not Tally.of([[1, 1], [-1, -1]]).accepts("majority", 0.05)
    # One-sided binomial: five of five are 1/32, four of five are 6/32.
    assert Tally.of([[1]] * 5).accepts("sign_test", 0.05)
    assert not Tally.of([[1]] * 4).accepts("sign_test", 0.05)
    assert not Tally.of([[1]] * 4 + [[-1]]).accepts("sign_test", 0.05)
    assert Tally.of([[1]] * 5 + [[0]] * 5).accepts("sign_test", 0.05)
    assert not Tally.of([[0]] * 5).accepts("sign_test", 0.5)


@pytest.mark.parametrize(("questions", "share"), [(3, 0.344), (6, 0.387)])
def test_a_coin_accepts_as_the_binomials_say(questions: int, share: float) -> None:
    rng = random.Random(0)
    rounds = [
        Tally.of([[rng.choice((1, -1)) for _ in range(2)] for _ in range(questions)])
        for _ in range(2000)
    ]
    accepted = sum(each.accepts("majority", 0.05) for each in rounds) / len(rounds)
    assert accepted == pytest.approx(share, abs=0.032)  # three standard errors


def test_answers_that_agree() -> None:
    assert consistency(["4", "4 ", "5"], []) == pytest.approx(2 / 3)
    assert consistency(["4", "4"], [["4", "5", "4"], ["7", "7"]]) == pytest.approx(1.5)
    assert repetition("add, then add, then add") == pytest.approx(1 - 3 / 5)


def test_the_published_vote_takes_three_of_four() -> None:
    settings = SpoSettings.default(behaviour="published")
    assert (settings.scope, settings.orders, settings.votes) == ("set", "random", 4)
    said = iter("AABBAAAB")

    def script(request: Request, number: int) -> str:
        return f"<choice>{next(said)}</choice>"

    search, _ = spo(script=script, behaviour="published")
    for _ in range(2):
        judged = search._vote([search._transcripts(START)] * 2)
        ((votes,),) = [judged.units]
        (orders,) = judged.details["challenger_first"]
        assert len(votes) == len(orders) == 4
        assert (verdict(votes) == 1) == (votes.count(1) >= 3)


def test_costs() -> None:
    search, writer = spo(questions=3)
    # One prompt, and three questions in both orders.
    assert costs_of(search, writer) == {"waves": [[1, 1], [6, 1]], "rows": 3}
    assert {request.temperature for request in writer.waves[0]} == {0.7}
    assert {request.temperature for request in writer.waves[1]} == {0.3}
    assert Spo.first_round(search.settings, 10, 1) == 6
    for _ in range(9):
        assert costs_of(search, writer)["rows"] == 3
    assert costs_of(search, writer) is None


def test_swapping_the_answers_flips_every_verdict(tmp_path: Path) -> None:
    search, _ = spo(pool=str(pool_file(tmp_path)))
    search.scorer.score([" nine"])
    pair = [search._transcripts(text) for text in (START, " nine")]
    there, back = search._vote(pair), search._vote(pair[::-1])
    assert there.units == [[-vote for vote in unit[::-1]] for unit in back.units]
    # Questions 4 to 8 are answered by one of the two; the judge is bound to a place elsewhere.
    assert [verdict(unit) for unit in there.units] == [0] * 4 + [1] * 5 + [0]
    assert there.details["consistent"] == [5, 10]


def biased(requests: Sequence[Request], answered: Answered) -> None:
    """A judge to whom the letter A says much more than an answer of *Yes*."""
    for index, request in enumerate(requests):
        first, second = re.findall(r"Final answer: (\w+)", request.user)
        odds = math.exp(3 + 0.5 * ((first == "Yes") - (second == "Yes")))
        answered(index, [Reply("A", 1, 1, False, (odds / (1 + odds), 1 / (1 + odds)))])


def test_a_letter_that_is_preferred_cancels_in_both_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    search, writer = spo(judge="logprob")
    monkeypatch.setattr(writer, "write", biased)
    search.scorer.score([" nine"])
    judged = search._vote([search._transcripts(text) for text in (START, " nine")])
    # Questions 4 to 8 are answered by the challenger alone, 9 by neither.
    assert [verdict(unit) for unit in judged.units] == [0] * 4 + [1] * 5 + [0]
    assert judged.details["votes"] == [[-1, 1]] * 10 and judged.details["consistent"] == [0, 10]
    assert leaning((0.8, 0.2), swapped=True) == -leaning((0.8, 0.2), swapped=False) > 0
    assert leaning((1.0, 0.0), swapped=False) < -700


@pytest.mark.parametrize("scope", ["each", "set"])
def test_the_best_of_those_tried_wins_with_right_answers_for_a_judge(
    tmp_path: Path, scope: str
) -> None:
    search, writer = spo(pool=str(pool_file(tmp_path)), judge="reference", scope=scope)
    made = []
    while step := search.step():
        made.append(step)
    assert len(made) == len(POOL) and not writer.waves
    assert search.chain == [START, " five", " nine", " ten"] and search.incumbent.text == " ten"
    assert [each.prompt for each in search.finalists()] == search.chain[::-1]  # type: ignore[union-attr]
    if scope == "each":
        assert made[0].details["judge"]["agreement"] == [3, 0, 3]


def test_a_judge_without_a_verdict_accepts_nothing_and_says_so() -> None:
    search, _ = spo(script=different, questions=3)
    for _ in range(10):
        made = search.step()
        assert made is not None and not made.accepted
        assert made.events == ("the judge gave no verdict in any of 6 readings; nothing changes",)
    assert search.incumbent.text == START and search.step() is None


def test_patience_ends_a_search() -> None:
    search, _ = spo(script=different, patience=2)
    assert search.step() and search.step() and search.step() is None


def test_a_prompt_with_more_words_than_allowed_is_dropped() -> None:
    def script(request: Request, number: int) -> str:
        return "<prompt>one two three four</prompt>"

    search, writer = spo(script=script, word_limit=3)
    made = search.step()
    assert made is not None and made.details["dropped"] == {"wordy": 1} and not made.tried
    assert "It has at most 3 words." in writer.waves[0][0].user


def test_the_writer_sees_requirements_and_answers_and_gold_only_when_asked() -> None:
    search, writer = spo(requirements="Be brief.", questions=3)
    search.step()
    asked = [request.user for wave in writer.waves for request in wave]
    assert all("\nBe brief.\n" in user and "Expected" not in user for user in asked)
    search, writer = spo(questions=3, reference="gold")
    search.step()
    assert writer.waves[0][0].user.count("\nExpected answer: Yes") == 3
    search, writer = spo(questions=3, reference="format", answer_format="one word")
    search.step()
    assert writer.waves[1][0].user.count("\nExpected answer: one word") == 1


def test_consistency_draws_answers_and_asks_nobody() -> None:
    search, writer = spo(judge="consistency", questions=3, samples=2)
    made = search.step()
    assert made is not None and len(writer.waves) == 1
    assert search.scorer.ledger.evaluations == Spo.first_round(search.settings, 10, 1) - 3 + 10 - 7
    assert made.details["judge"]["ballots"] == 3


def task(folder: Path, name: str, answers: list[str] | None) -> Path:
    """The questions of the tests with these answers, or without any."""
    path = folder / f"{name}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", *(["answer"] if answers else [])])
        for row, (question, _) in enumerate(QUESTIONS):
            writer.writerow([question, *(answers[row : row + 1] if answers else [])])
    return path


def judged_by_length(request: Request, number: int) -> str:
    """Prompts of words, and a judge that takes the longer answer."""
    if "Two answers are compared." not in request.user:
        return f"<prompt>{' '.join(random.Random(request.seed).sample(WORDS, 4))}</prompt>"
    first, second = re.findall(r"Answer [AB]:\n(.*?)\n\n", request.user, re.S)
    return f"<choice>{'A' if len(first) > len(second) else 'B'}</choice>"


WORDS = "think step by step count each one carefully add them up and answer".split()


def test_right_answers_change_nothing_but_what_the_log_says_of_them(
    small_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_writers(monkeypatch, judged_by_length)
    own = [answer for _, answer in QUESTIONS]
    told, seen = [], []
    for name, answers in (("right", own), ("scrambled", own[::-1]), ("none", None)):
        flags = small_run | {
            "train_data": task(tmp_path, name, answers),
            "method": "spo",
            "n_dev_data": 0,
            "n_test_data": 0,
            "max_new_tokens": 5,
            "answer_tokens": 4,
            "spo.rounds": 4,
            "result_prefix": tmp_path / name,
        }
        log = carry_out(flags)
        lines = replies_path(log.path).read_text().splitlines()
        told.append([json.loads(line)["request"] for line in lines])
        seen.append(
            [
                log.data["evaluation"]["chosen"],
                *(
                    [
                        step["proposals"],
                        step["accepted"],
                        {k: v for k, v in step["judge"].items() if k != "agreement"},
                    ]
                    for step in log.data["steps"]
                ),
            ]
        )
    assert told[0] == told[1] == told[2] and seen[0] == seen[1] == seen[2]
    assert any(step["accepted"] for step in log.data["steps"])
    # Without answers the objective is the margin, and nothing is said of mistakes.
    initial, best = log.data["initial"], log.data["best"][0]
    assert initial["mistakes"] is None and initial["objective"] == 0 and best["objective"] < 0
    assert best["prompt"] == log.data["evaluation"]["chosen"]


TEMPLATE = """
prompt: |
  Count slowly.
requirements: |
  {requirements}
count: {count}
qa:
  - question: How many plums are two plums?
    answer: |
      None
  - question: How many are one and one?
    answer: "2"
"""


def template(folder: Path, text: str = TEMPLATE, **slots: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text.format(**{"requirements": "Be brief.", "count": "None"} | slots))
    return path


def test_a_template_brings_what_is_not_given(tmp_path: Path) -> None:
    flags = {"method": "spo", "spo.template": template(tmp_path), "spo.questions": 2}
    made = plan(values(flags))
    assert made.task.prompt == "Count slowly." and made.method.requirements == "Be brief."  # type: ignore[attr-defined]
    assert (made.task.n_train_data, made.task.n_dev_data, made.task.n_test_data) == (2, 0, 0)
    assert made.task.train_data == str(tmp_path / "mine.yaml")
    given = {"spo.requirements": "Rhyme.", "control_init": " Sing.", "train_data": "mine.csv"}
    own = given | {"extractor_text": "So: $", "n_train_data": 3}
    made = plan(values(flags | own))
    assert made.params.items() >= own.items()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is no YAML"),
        ("- 1", "has no list 'qa'"),
        ("qa: []", "has no list 'qa'"),
        ("qa: [{answer: x}]", "entry 0 of 'qa' .* has no question"),
        ("count: many\nqa: [{question: x}]", "'count' in .* is 'many', no number"),
        ("qa: !!python/object/apply:os.getcwd []", "is no YAML"),
    ],
)
def test_a_template_that_is_none(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        plan(values({"method": "spo", "spo.template": path}))
    assert caught.value.keys == ("spo.template",)


@pytest.mark.parametrize(
    ("settings", "words", "key"),
    [
        ({"questions": 0}, "0 is too small", "spo.questions"),
        ({"judge": "oracle"}, "'oracle' is unknown; choose one of llm", "spo.judge"),
        ({"reference": "format"}, "no text says what", "spo.answer_format"),
        ({"accept": "sign_test"}, "3 questions that are all won would not", "spo.questions"),
        ({"accept": "sign_test", "scope": "set", "questions": 9}, "judge each", "spo.scope"),
        ({"alpha": 0.7}, "0.7 is too large", "spo.alpha"),
        ({"samples": 1}, "1 is too small", "spo.samples"),
        ({"pool": "/nowhere/pool.txt"}, "cannot be read", "spo.pool"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], words: str, key: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        SpoSettings.default(**settings)
    assert caught.value.keys[0] == key


def test_what_does_not_go_together_is_refused(small_run: dict[str, Any], tmp_path: Path) -> None:
    flags = small_run | {"method": "spo", "n_test_data": 0, "result_prefix": tmp_path / "run"}
    bare = {"train_data": task(tmp_path, "bare", None), "n_dev_data": 0, "n_test_data": 0}
    server = {"writer.base_url": "http://localhost:1", "writer.model": "m"}
    for own, words in (
        ({"spo.questions": 7}, "7 questions are asked for and there are 6 training rows"),
        (bare | {"spo.judge": "reference"}, "row 0 has none; choose another judge"),
        (bare | {"objective": "loss"}, "row 0 has none; take the objective 'answers'"),
        (bare | {"method": "opro"}, "has no 'answer'"),
        (
            bare | {"n_train_data": 3, "spo.questions": 2, "n_test_data": 2},
            "none of the 2 rows of test has an answer",
        ),
        (server | {"spo.judge": "logprob"}, "probabilities that a server does not tell"),
        (
            {"judge.base_url": "http://localhost:1", "judge.model": "m", "spo.judge": "logprob"},
            "probabilities that a server does not tell",
        ),
        ({"judge.base_url": "http://localhost:1"}, "the judge at http://localhost:1 has no name"),
        ({"judge.extra": {"api_key": "x"}}, "of judge.extra looks like a secret"),
    ):
        with pytest.raises(InputError, match=words):
            carry_out(flags | own)
    assert not list(tmp_path.glob("run_*"))


def test_judge_keys_without_effect_are_named(small_run: dict[str, Any]) -> None:
    flags = small_run | {"method": "spo", "n_test_data": 0}
    for own, words in (
        ({"judge.max_tokens": 9}, "the keys of judge have no effect without judge.model"),
        (
            {"judge.model": "m", "spo.judge": "random"},
            "the keys of judge have no effect under these keys of spo",
        ),
        (
            {"judge.model": "m", "judge.timeout": 9.0},
            "judge.timeout has no effect without judge.base_url",
        ),
    ):
        assert plan(values(flags | own)).warnings == (words,)
    assert advice("judge.temperature", ()) == "spo.judge_temperature sets it"


def test_a_judge_has_its_own_settings_and_is_counted_by_itself() -> None:
    search, writer = planted(
        Spo,
        SpoSettings.default(questions=2, judge_temperature=0.1),
        rule=by_word,
        script=prefers_yes,
        questions=10,
        writer=WriterSettings.default(max_tokens=50, top_p=0.9),
        judge=JudgeSettings.default(model="j", max_tokens=7, top_p=0.5),
    )
    assert search.step()
    asked, judged = writer.waves
    assert [(each.max_tokens, each.top_p) for each in asked] == [(50, 0.9)]
    drawn = {(each.max_tokens, each.top_p, each.temperature) for each in judged}
    assert drawn == {(7, 0.5, 0.1)} and len(judged) == 4
    ledger = search.scorer.ledger
    assert (ledger.requests, ledger.judge_requests) == (5, 4)
    words = [sum(len(each.user.split()) for each in wave) for wave in writer.waves]
    assert [ledger.tokens["asked"], ledger.tokens["judge_asked"]] == words
    assert ledger.written == ledger.tokens["written"] + 4 and ledger.tokens["judge_written"] == 4


def test_a_forced_resume_goes_on_from_the_incumbent() -> None:
    search, _ = spo(rule=lambda words, question: "of" in words)
    assert search.step()
    assert search.incumbent.text != START
    other, _ = spo(questions=3)
    other.carry_over(search.state_dict())
    assert other.chain == [START, search.incumbent.text] and other.made_rounds == 0


def test_a_small_writer_may_judge_without_tags() -> None:
    search, _ = planted(
        Spo,
        SpoSettings.default(),
        rule=by_word,
        script=lambda request, number: "(B)" if "compared" in request.user else "try it",
        questions=10,
        writer=WriterSettings.default(accept_raw=True),
    )
    made = search.step()
    assert made is not None and made.details["judge"]["unusable"] == 0
    assert made.details["judge"]["ties"] == 3  # It is bound to a place.
