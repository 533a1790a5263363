"""Held-out scoring: a rule and an ensemble are what their texts are, row by row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.model import Model
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.scoring.finalists import Ensemble, Finalist, Rule, Text, vote
from prompt_optimization.scoring.held_out import (
    HeldOut,
    HeldOutScorer,
    compare,
    difference,
    read_answers,
)
from prompt_optimization.scoring.scorer import Scorer
from prompt_optimization.scoring.settings import METRICS
from prompt_optimization.scoring.statistics import mean_value, paired_difference
from prompt_optimization.tasks.examples import Example
from tests.conftest import PROMPT, QUESTIONS

PROMPTS = (PROMPT, " careful thought, count each one.", " think.")
DECODING = Decoding(5, answer_tokens=4)
ROWS = tuple(
    Example(f"Once more: {question}", answer, 10 + row)
    for row, (question, answer) in enumerate(QUESTIONS)
)


@pytest.fixture
def answerer(make_model: Any, make_answerer: Any) -> Model:
    model: Model = make_answerer(make_model())
    return model


@pytest.fixture
def held_out(answerer: Model) -> HeldOutScorer:
    layout = answerer.training.layout
    template = PromptTemplate(layout.extractor, layout.connector, layout.separator)
    return HeldOutScorer(answerer, template, DECODING)


def rows_of(result: HeldOut) -> list[dict[str, Any]]:
    """All that is known of each row."""
    hits = [{metric: result.hits[metric][i] for metric in METRICS} for i in range(len(ROWS))]
    return [written | each for written, each in zip(result.written, hits, strict=True)]


def prompts_of(choice: Sequence[int]) -> Rule:
    """The rule that takes, for each of ``ROWS``, the prompt of that number."""
    by_question = {row.question: PROMPTS[i] for row, i in zip(ROWS, choice, strict=True)}
    return Rule(f"prompts {[*choice]}", by_question.__getitem__)


# --- Finalists -------------------------------------------------------------------------------


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(choice=st.lists(st.integers(0, len(PROMPTS) - 1), min_size=len(ROWS), max_size=len(ROWS)))
def test_a_rule_is_the_texts_that_it_chooses(held_out: HeldOutScorer, choice: list[int]) -> None:
    texts = [rows_of(held_out.score(Text(prompt), ROWS)) for prompt in PROMPTS]
    before = held_out.ledger.evaluations
    found = held_out.score(prompts_of(choice), ROWS)
    assert held_out.ledger.evaluations - before == len(ROWS), "no row is run under two prompts"
    assert found.prompt == f"prompts {choice}"
    losses = []
    for i, (row, number) in enumerate(zip(rows_of(found), choice, strict=True)):
        # Other pools change the last bits of a loss.
        assert row == texts[number][i] | {"loss": pytest.approx(texts[number][i]["loss"], rel=1e-5)}
        losses.append(row["loss"])
    assert found.loss == pytest.approx(math.fsum(losses) / len(ROWS))


def test_a_rule_of_one_prompt_is_its_text(held_out: HeldOutScorer) -> None:
    text = held_out.score(Text(PROMPT), ROWS)
    rule = held_out.score(Rule("always the same", lambda question: PROMPT), ROWS)
    assert rows_of(rule) == rows_of(text) and rule.loss == text.loss
    assert rule.prompt == "always the same" and text.prompt == PROMPT


class Writer:
    """Answers by a table: what each prompt makes the model write on each row."""

    def __init__(self, answers: dict[str, Sequence[str]]) -> None:
        self.answers = answers

    def held_out(
        self, template: Any, examples: Sequence[Example], prompt: str, decoding: Decoding
    ) -> list[Outcome]:
        number = float([*self.answers].index(prompt))
        return [
            Outcome((), number, True, 0.0, self.answers[prompt][ROWS.index(example)])
            for example in examples
        ]


def test_an_ensemble_votes(held_out: HeldOutScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    rights = [row.answer for row in ROWS]
    writer = Writer(
        {
            # The first two agree on rows 0 to 2, the last two on rows 3 and 4, none on row 5.
            " a": [*rights[:3], "9", "9", "one"],
            " b": [f" {each} " for each in rights[:3]] + ["Nine", *rights[4:5], "TWO"],
            " c": ["1", "1", "1", "nine", *rights[4:5], "three"],
        }
    )
    monkeypatch.setattr(held_out.model, "held_out", writer.held_out)
    found = held_out.score(Ensemble((" a", " b", " c")), ROWS)
    assert found.prompt == "vote of 3: a | b | c"
    expected = [*rights[:3], "Nine", rights[4], "one"]
    assert [row["answer"].strip() for row in found.written] == expected
    # A row's loss belongs to the answer that was elected, the first of those that agree.
    assert [row["loss"] for row in found.written] == [0, 0, 0, 1, 1, 0]
    assert found.hits["strict"] == [True, True, True, False, True, False]
    assert held_out.ledger.evaluations == 3 * len(ROWS)


def test_an_ensemble_on_the_model(held_out: HeldOutScorer) -> None:
    texts = [held_out.score(Text(prompt), ROWS) for prompt in PROMPTS]
    found = held_out.score(Ensemble(PROMPTS), ROWS)
    for i, row in enumerate(rows_of(found)):
        answers = [text.written[i]["answer"] for text in texts]
        assert row == rows_of(texts[vote(answers)])[i]
    alone = held_out.score(Ensemble((PROMPT,)), ROWS)
    assert rows_of(alone) == rows_of(texts[0])


@given(st.lists(st.sampled_from(["7", " 7", "seven", "Seven ", "8", ""]), min_size=1, max_size=9))
def test_the_vote_is_the_first_of_the_most_frequent(answers: list[str]) -> None:
    forms = [answer.strip().lower() for answer in answers]
    counts = Counter(forms)
    best = max(counts.values())
    expected = min(i for i, form in enumerate(forms) if counts[form] == best)
    assert vote(answers) == expected


# --- What it costs ---------------------------------------------------------------------------


def test_the_ledger_is_apart_from_the_search_s(answerer: Model, held_out: HeldOutScorer) -> None:
    scorer = Scorer([answerer], DECODING, objective="loss", nll_weight=0.0)
    scorer.score([PROMPT])
    search = scorer.ledger.record()
    worker = answerer.executor.worker  # type: ignore[attr-defined]
    before = worker.model.counts.copy()
    for finalist in (Text(PROMPT), prompts_of([0, 1, 2, 0, 1, 2]), Ensemble(PROMPTS[:2])):
        held_out.score(finalist, ROWS)
    assert scorer.ledger.record() == search and answerer.counts is scorer.ledger.tokens
    assert held_out.ledger.evaluations == (1 + 1 + 2) * len(ROWS)
    assert held_out.ledger.tokens == worker.model.counts - before
    assert held_out.ledger.tokens["decoded"] > 0 and held_out.ledger.seconds > 0
    # The search goes on where it was, and pays for itself again.
    spent = held_out.ledger.record()
    scorer.score([PROMPTS[1]])
    assert scorer.ledger.tokens["decoded"] > search["tokens"]["decoded"]
    assert held_out.ledger.record() == spent


def test_the_search_pays_again_after_an_error(answerer: Model, held_out: HeldOutScorer) -> None:
    scorer = Scorer([answerer], DECODING, objective="loss", nll_weight=0.0)
    with pytest.raises(InputError):
        held_out.score(Text(" think" * 600), ROWS)
    assert answerer.counts is scorer.ledger.tokens


# --- What is read ----------------------------------------------------------------------------


def test_rows_and_prompts_that_do_not_fit_are_refused(held_out: HeldOutScorer) -> None:
    held_out.check(ROWS, PROMPT, 64)
    with pytest.raises(InputError, match=r"row 10 needs .* more than the 512 of tiny-llama-3"):
        held_out.check(ROWS, PROMPT, 500)
    with pytest.raises(InputError, match="more than the 512 of tiny-llama-3"):
        held_out.score(Text(" think" * 600), ROWS)


def test_results_are_read_compared_and_ranked(answerer: Model) -> None:
    def result(name: str, answers: Sequence[str], loss: float) -> HeldOut:
        outcomes = [Outcome((), loss, i == 0, 0.0, answer) for i, answer in enumerate(answers)]
        return read_answers(name, ROWS[: len(answers)], outcomes, answerer.tokenizer)

    right = result("right", ["12", "2.", "six"], 2.0)
    assert right.hits["strict"] == [True, True, False]
    assert right.hits["teacher_forced"] == [False, True, True]
    assert right.accuracy["strict"] == mean_value([True, True, False])
    assert right.record()["hits"]["strict"] == "110" and right.record()["loss"] == 2.0
    sure = result("sure", ["12", "2", "5"], 1.0)
    wrong = result("wrong", ["1", "1", "1"], 0.5)
    assert min([wrong, right, sure], key=lambda each: each.rank) is sure
    assert min([wrong, right], key=lambda each: each.rank) is right
    assert difference(wrong, right, "strict") == paired_difference(
        wrong.hits["strict"], right.hits["strict"]
    )
    nothing = compare(right, result("right", ["1", "1", "1"], 9.0))
    assert all(each == {"value": 0, "low": 0, "high": 0, "n": 3} for each in nothing.values())


@pytest.mark.parametrize(
    "finalist", [Text(PROMPT), Rule("a rule", lambda question: PROMPT), Ensemble(PROMPTS)]
)
def test_a_finalist_s_name_is_its_result_s(held_out: HeldOutScorer, finalist: Finalist) -> None:
    assert held_out.score(finalist, ROWS[:2]).prompt == finalist.name
