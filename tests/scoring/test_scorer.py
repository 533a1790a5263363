"""The scorer: nothing is computed twice, all of it is counted, and racing loses nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding, Engine, Outcome
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.runs.store.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from prompt_optimization.scoring import scorer as scorer_module
from prompt_optimization.scoring.scorer import BudgetSpent, Row, Scored, Scorer
from prompt_optimization.tasks.answers import strict_match
from tests.conftest import PROMPT

PROMPTS = (
    PROMPT,
    " proper logical thought and think step by step.",
    " careful thought, count each one.",
    " think.",
)
N = 6
WRITTEN = Decoding(5, answer_tokens=4)

MakeScorer = Callable[..., Scorer]

# Of every outcome that was computed: the engine, the prompt's ids and the example.
Computed = list[tuple[int, Ids, int]]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    """Every outcome that an engine computes from now on."""
    found: Computed = []
    run = Engine.run

    def watched(
        self: Engine,
        samples: CachedExamples,
        prompts: Any,
        decoding: Decoding,
        indices: Any = None,
    ) -> list[list[Outcome]]:
        outcomes = run(self, samples, prompts, decoding, indices)
        examples = range(len(samples)) if indices is None else indices
        for prompt, each in zip(prompts, outcomes, strict=True):
            found.extend((id(self), prompt, example) for example in examples)
            assert len(each) == len(examples)
        return outcomes

    monkeypatch.setattr(Engine, "run", watched)
    return found


@pytest.fixture
def two_models(make_model: Any, make_scorer: MakeScorer) -> Scorer:
    """A scorer on the same examples with two models."""
    return make_scorer(make_model(seed=0), make_model(seed=1))


asked = st.lists(
    st.tuples(
        st.lists(st.sampled_from(PROMPTS), max_size=3),
        st.none()
        | st.lists(st.integers(0, N - 1), min_size=1, max_size=4)
        | st.lists(
            st.tuples(st.integers(0, 1), st.integers(0, N - 1)), min_size=1, max_size=5, unique=True
        ),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=5,
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(requests=asked)
def test_nothing_is_computed_twice_and_all_of_it_is_counted(
    make_model: Any, make_scorer: MakeScorer, computed: Computed, requests: list[Any]
) -> None:
    """Whatever is asked for, in whatever order and however often."""
    scorer = make_scorer(make_model(seed=0), make_model(seed=1))
    computed.clear()
    wanted: set[tuple[str, Row]] = set()
    looks = 0
    for prompts, rows, chunk in requests:
        found = scorer.score(prompts, rows, chunk=chunk)
        assert [each.text for each in found] == prompts
        pairs = scorer.rows() if rows is None else []
        for row in rows or ():
            pairs += [row] if isinstance(row, tuple) else [(0, row), (1, row)]
        assert all(each.rows == len(pairs) and not each.capped for each in found)
        wanted |= {(prompt, pair) for prompt in prompts for pair in pairs}
        looks += len({*prompts}) * len(pairs)
    assert len(computed) == len({*computed}) == len(wanted)
    assert scorer.ledger.evaluations == len(computed)
    assert scorer.ledger.reused == looks - len(computed)
    ids = {scorer.ids(prompt): prompt for prompt, _ in wanted}
    assert {(ids[prompt], example) for _, prompt, example in computed} == {
        (prompt, example) for prompt, (_, example) in wanted
    }


def test_tokens_are_counted_where_they_are_spent(make_scorer: MakeScorer) -> None:
    scorer = make_scorer()
    (model,) = scorer.models
    worker = model.executor.worker  # type: ignore[attr-defined]
    before = worker.model.counts.copy()
    (scored,) = scorer.score([PROMPT])
    assert scorer.ledger.tokens == worker.model.counts - before
    # A reasoning that ends early has decoded the token that ends it.
    ended = sum(len(reasoning) < 5 for reasoning in scored.reasonings)
    assert scorer.ledger.tokens["decoded"] == sum(map(len, scored.reasonings)) + ended
    whole = scorer.ledger.record()
    scorer.score([PROMPT])
    assert scorer.ledger.record() == whole | {"reused": N}


def test_a_score_is_the_mean_over_models_and_examples(two_models: Scorer) -> None:
    (scored,) = two_models.score([PROMPT])
    apart = [two_models.score([PROMPT], [row])[0] for row in two_models.rows()]
    assert [each.outcomes for each in apart] == [(outcome,) for outcome in scored.outcomes]
    assert scored.rows == 2 * N and len({each.loss for each in apart}) > N
    for name in ("loss", "mistakes", "nll", "objective"):
        mean = sum(getattr(each, name) for each in apart) / len(apart)
        assert getattr(scored, name) == pytest.approx(mean, rel=1e-12)
    assert scored.objective == scored.loss + 0.02 * scored.nll
    assert scored.wrong is None and "wrong_answers" not in scored.record()


# --- Racing ----------------------------------------------------------------------------------


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_racing_gives_up_only_what_is_above_the_ceiling(
    whole_scores: dict[str, dict[str, Scored]],
    make_scorer: MakeScorer,
    computed: Computed,
    data: st.DataObject,
) -> None:
    objective = data.draw(st.sampled_from(sorted(whole_scores)), label="objective")
    whole = whole_scores[objective]
    scorer = make_scorer(objective=objective, decoding=WRITTEN)
    prompts = data.draw(st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=4))
    objectives = [each.objective for each in whole.values()]
    ceiling = data.draw(
        st.sampled_from(objectives) | st.floats(0, 1.2 * max(objectives)), label="ceiling"
    )
    order = data.draw(st.permutations(range(N)), label="order")
    chunk = data.draw(st.integers(0, N), label="chunk")
    computed.clear()
    found = scorer.score(prompts, order, ceiling=ceiling, chunk=chunk)
    assert [each.text for each in found] == prompts
    for each in found:
        if each.capped:
            # The bound is one, it is above the ceiling, and so is the objective.
            assert ceiling < each.objective <= whole[each.text].objective + 1e-5
            assert chunk <= each.rows < N and each.rows % chunk == 0
        else:
            assert each.rows == N
            assert each.objective == pytest.approx(whole[each.text].objective, abs=1e-5)
            assert [o.reasoning for o in each.outcomes] == whole[each.text].reasonings
    assert len(computed) == sum({each.text: each.rows for each in found}.values())


@pytest.fixture(scope="module")
def whole_scores() -> dict[str, dict[str, Scored]]:
    """Filled by ``scores_are_known`` once: every prompt's score by objective."""
    return {}


@pytest.fixture(autouse=True)
def scores_are_known(request: pytest.FixtureRequest, make_scorer: MakeScorer) -> Iterator[None]:
    if "whole_scores" in request.fixturenames:
        known: dict[str, dict[str, Scored]] = request.getfixturevalue("whole_scores")
        for objective in () if known else ("loss", "mistakes", "answers"):
            scorer = make_scorer(objective=objective, decoding=WRITTEN)
            known[objective] = {each.text: each for each in scorer.score(PROMPTS)}
    yield


def test_what_is_given_up_costs_less_and_can_be_finished(
    make_scorer: MakeScorer, computed: Computed
) -> None:
    scorer = make_scorer()
    best = min(each.objective for each in make_scorer().score(PROMPTS))
    computed.clear()
    raced = scorer.score(PROMPTS, ceiling=best / 2, chunk=1)
    assert all(each.capped and 0 < each.rows < N for each in raced)
    assert len(computed) == scorer.ledger.evaluations == sum(each.rows for each in raced)
    # What is known of a prompt that was given up is not computed again.
    assert [each.rows for each in scorer.score(PROMPTS)] == [N] * len(PROMPTS)
    assert len(computed) == len({*computed}) == scorer.ledger.evaluations == len(PROMPTS) * N


# --- Objectives ------------------------------------------------------------------------------


def test_answers_count_what_is_not_strictly_right(
    make_scorer: MakeScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = make_scorer(objective="answers", decoding=WRITTEN, nll_weight=0.0)
    (model,) = scorer.models
    run = type(model).submit_run
    written: dict[tuple[Ids, int], str] = {}

    def answering(self: Any, prompts: Any, decoding: Any, examples: Any) -> Any:
        """The model's own outcomes, but for the answers: right ones as often as not."""

        def answered(found: list[list[Outcome]]) -> list[list[Outcome]]:
            for prompt, outcomes in zip(prompts, found, strict=True):
                for i, example in enumerate(examples):
                    right = random.Random(f"{prompt}{example}").random() < 0.5
                    reference = scorer.examples[example].answer
                    answer = f"{reference}." if right else f"not {reference}"
                    outcomes[i] = replace(outcomes[i], answer=answer)
                    written[prompt, example] = answer
            return found

        return run(self, prompts, decoding, examples).then(answered)

    monkeypatch.setattr(type(model), "submit_run", answering)
    found = scorer.score(PROMPTS)
    assert len({each.wrong for each in found}) > 1
    for each in found:
        ids = scorer.ids(each.text)
        wrong = [
            not strict_match(written[ids, i], example.answer)
            for i, example in enumerate(scorer.examples)
        ]
        assert each.objective == each.wrong == sum(wrong) / N
        assert each.tie == each.loss and each.order == (each.wrong, each.loss)
        assert each.record()["wrong_answers"] == each.wrong
    # Equal shares are ordered by the loss.
    same = [replace(each, objective=0.5) for each in found]
    assert sorted(same, key=lambda each: each.order) == sorted(same, key=lambda each: each.loss)


def test_answers_are_the_model_s_own_words(make_scorer: MakeScorer) -> None:
    scorer = make_scorer(objective="answers", decoding=WRITTEN)
    (scored,) = scorer.score([PROMPT])
    right = [
        strict_match(str(outcome.answer), example.answer)
        for outcome, example in zip(scored.outcomes, scorer.examples, strict=True)
    ]
    assert scored.wrong == 1 - sum(right) / N
    assert scored.objective == scored.wrong + 0.02 * scored.nll


@pytest.mark.parametrize("objective", ["loss", "mistakes"])
def test_other_objectives_have_no_ties_of_their_own(
    make_scorer: MakeScorer, objective: str
) -> None:
    (scored,) = make_scorer(objective=objective, written=True, decoding=WRITTEN).score([PROMPT])
    assert scored.order == (scored.objective, 0.0) and scored.wrong is not None


def test_transcripts(make_scorer: MakeScorer, computed: Computed) -> None:
    scorer = make_scorer(written=True, decoding=WRITTEN)
    computed.clear()
    order = [4, 0, 4]
    transcripts = scorer.transcripts(PROMPT, order)
    assert {example for _, _, example in computed} == {0, 4} and len(computed) == 2
    (scored,) = scorer.score([PROMPT])
    tokenizer = scorer.models[0].tokenizer
    for transcript, i in zip(transcripts, order, strict=True):
        example, outcome = scorer.examples[i], scored.outcomes[i]
        assert transcript.question == example.question and transcript.reference == example.answer
        assert transcript.reasoning == tokenizer.decode(
            list(outcome.reasoning), skip_special_tokens=True
        )
        assert transcript.answer == outcome.answer
        assert transcript.right == strict_match(transcript.answer, example.answer)


def test_further_draws_are_other_answers_and_counted(
    make_scorer: MakeScorer, computed: Computed
) -> None:
    drawn = Decoding(5, answer_tokens=4, sampling=Sampling(1.0, seed=3))
    scorer = make_scorer(decoding=drawn, objective="answers", written=True)
    first = scorer.values(PROMPTS[:2], [2, 0])
    (scored,) = scorer.score(PROMPTS[:1], [0, 2])
    assert scored.wrong == pytest.approx(1 - sum(first[0]) / 2)
    assert scorer.ledger.evaluations == len(computed) == 4  # What scoring knew was not drawn again.
    model = scorer.models[0]
    seen: list[list[list[Outcome]]] = []
    submit = model.submit_run

    def watched(*arguments: Any) -> Any:
        return submit(*arguments).then(lambda found: seen.append(found) or found)

    model.submit_run = watched  # type: ignore[method-assign]
    for draw in (1, 2, 1):
        values = scorer.values(PROMPTS[:2], [2, 0], draw)
        assert [len(each) for each in values] == [2, 2]
    assert scorer.ledger.evaluations == len(computed) == 16
    one, two, again = ([each.reasoning for own in found for each in own] for found in seen)
    assert one == again and one != two
    assert one != [*scored.reasonings]
    scorer.limit = lambda: "enough"
    with pytest.raises(BudgetSpent, match="enough"):
        scorer.values(PROMPTS[:1], [0], 3)


def test_prompts_that_cannot_be_scored_are_named(make_model: Any, make_scorer: MakeScorer) -> None:
    template = '[{"role": "user", "content": "{question} Use {prompt}. Now."}]'
    scorer = make_scorer(make_model("gemma-2"), prompt=" think step by step", template=template)
    assert scorer.problem(" think step") is None
    assert scorer.problem("  ") == "it is empty"
    assert "more than the 512" in str(scorer.problem(" think" * 600))
    glued = " count plums"  # its end is one token with the full stop
    problem = scorer.problem(glued)
    with pytest.raises(InputError, match="does not stand on tokens of its own") as caught:
        scorer.score([glued])
    assert problem == caught.value.problem
    assert scorer.ledger.evaluations == 0


# --- Memory ----------------------------------------------------------------------------------


def bits(scored: Scored) -> list[Any]:
    """All of a score; floats by their bits."""
    floats = (scored.objective, scored.loss, scored.mistakes, scored.nll, scored.tie)
    outcomes = [
        (o.reasoning, o.loss.hex(), o.mistake, o.nll.hex(), o.answer) for o in scored.outcomes
    ]
    return [scored.text, *(float(each).hex() for each in floats), scored.wrong, *outcomes]


def test_state_keeps_every_bit_through_a_checkpoint(
    make_model: Any, make_scorer: MakeScorer, computed: Computed, tmp_path: Path
) -> None:
    def make() -> Scorer:
        models = make_model(seed=0), make_model(seed=1)
        return make_scorer(*models, objective="answers", decoding=WRITTEN)

    scorer = make()
    scorer.models[0].move_prefix(scorer.ids(PROMPT)[:3])
    found = scorer.score(PROMPTS, [0, 2, 5])
    found += scorer.score([PROMPT], [(1, 3)])
    path = tmp_path / "run.json.checkpoint"
    with scorer.ledger.running():
        pass
    save_checkpoint(path, Checkpoint("run", 0, {"scorer": scorer.state_dict(), "found": found}))
    state = load_checkpoint(path).search
    assert [bits(each) for each in state["found"]] == [bits(each) for each in found]

    other = make()
    other.load_state_dict(state["scorer"])
    assert other.ledger.record() == scorer.ledger.record()
    assert other.models[0].prefix == scorer.models[0].prefix
    assert other.models[0].lengths == scorer.models[0].lengths
    before = len(computed)
    again = other.score(PROMPTS, [0, 2, 5]) + other.score([PROMPT], [(1, 3)])
    assert [bits(each) for each in again] == [bits(each) for each in found]
    assert len(computed) == before
    # And both go on in the same way.
    more = [scorer.score(PROMPTS) for scorer in (scorer, other)]
    assert [bits(each) for each in more[0]] == [bits(each) for each in more[1]]
    assert other.ledger.tokens == scorer.ledger.tokens
    assert other.ledger.evaluations == scorer.ledger.evaluations == len(PROMPTS) * N * 2


def test_the_least_recently_used_prompt_is_forgotten(
    make_scorer: MakeScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorer_module, "REMEMBERED", 2)
    scorer = make_scorer()
    for prompt in (PROMPTS[0], PROMPTS[1], PROMPTS[0], PROMPTS[2]):
        scorer.score([prompt])
    assert scorer.ledger.evaluations == 3 * N
    assert [prompt for prompt, _ in scorer.state_dict()["known"]] == [PROMPTS[0], PROMPTS[2]]
    scorer.score([PROMPTS[1]])
    assert scorer.ledger.evaluations == 4 * N
    # More prompts at once than are remembered are all scored.
    assert [each.rows for each in scorer.score(PROMPTS)] == [N] * len(PROMPTS)


# --- Budgets ---------------------------------------------------------------------------------


def test_a_spent_budget_is_told_before_a_batch(make_scorer: MakeScorer, computed: Computed) -> None:
    scorer = make_scorer()
    ledger = scorer.ledger
    scorer.limit = lambda: "8 evaluations" if ledger.evaluations >= 8 else None
    scorer.score([PROMPTS[0]])
    with pytest.raises(BudgetSpent, match=r"^8 evaluations$"):
        # Batches of two rows: the second one finds the budget spent.
        scorer.score([PROMPTS[1]], chunk=2)
    assert ledger.evaluations == len(computed) == 8
    # What is known costs nothing, so it is still answered.
    assert [each.rows for each in scorer.score([PROMPTS[0]])] == [N]
    assert [each.rows for each in scorer.score([PROMPTS[1]], [0, 1])] == [2]
    with pytest.raises(BudgetSpent):
        scorer.score([PROMPTS[1]])
    assert ledger.evaluations == len(computed) == 8
    scorer.limit = lambda: None
    scorer.score([PROMPTS[1]])
    assert ledger.evaluations == len(computed) == len({*computed}) == 12
