"""GPO: what each step of its presets asks, costs and shows, and which settings go together."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.models.role_settings import WriterSettings
from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.gpo.schedule import batches, edit_limit, edits
from prompt_optimization.optimizers.gpo.search import Gpo
from prompt_optimization.optimizers.gpo.settings import GpoSettings
from prompt_optimization.optimizers.text.trajectory import Attempt
from prompt_optimization.runs.config import make_config, plan, values_of
from tests.optimizers.text.planted import (
    HIDDEN,
    START,
    VOCABULARY,
    costs_of,
    different,
    edited_words,
    enough_words,
    planted,
)
from tests.writers import ScriptedWriter

COSINE_50_TO_10 = [49, 48, 47, 45, 42, 40, 36, 33, 30, 26, 23, 20, 17, 14, 12, 11, 10, 10]


class BagOfWords:
    """Encodes a text as its letters and figures, scaled to unit length."""

    def embed(self, texts: list[str]) -> Any:
        kinds = "abcdefghijklmnopqrstuvwxyz0123456789"
        counts = np.array([[text.count(kind) for kind in kinds] for text in texts], float)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def half(words: set[str], question: int) -> bool:
    """Whatever the prompt."""
    return question % 2 == 0


def answers(request: Request, number: int) -> str:
    """A new prompt, or a remark that no other request gets, as a merged text or as feedback."""
    if "Merge them" in request.user:
        return f"merged {request.seed}"
    if "Do not write" in request.user:
        return f"remark {request.seed}"
    return different(request, number)


def gpo(rule: Any = half, script: Any = answers, **settings: Any) -> tuple[Gpo, ScriptedWriter]:
    others = {
        name: settings.pop(name) for name in ("questions", "seed", "writer") if name in settings
    }
    own = GpoSettings.default(**settings)
    return planted(Gpo, own, rule=rule, script=script, embedder=BagOfWords(), **others)


def shown(request: Request) -> list[str]:
    """The prompts of earlier steps that a request shows, in its order."""
    return re.findall(r"^Instruction: (.*)\nScore: \d+$", request.user, re.MULTILINE)


@pytest.mark.parametrize("behaviour", ["sound", "published"])
@pytest.mark.parametrize(
    ("variant", "first", "later"),
    [
        ("gpo", [[1, 8]], [[1, 8]]),
        ("ape", [[1, 8]], [[1, 8]]),
        ("apo", [[1, 1], [1, 8]], [[1, 1], [1, 8]]),
        ("opro", [[1, 8]], [[1, 8]]),
        ("pe2", [[1, 1], [1, 8]], [[1, 1], [1, 8]]),
        ("sgdm", [[1, 8]], [[1, 1], [1, 8]]),
    ],
)
def test_costs_of_the_presets(
    variant: str, first: list[list[int]], later: list[list[int]], behaviour: str
) -> None:
    search, writer = gpo(variant=variant, behaviour=behaviour)
    # 50 questions are six batches and a rest of two, which is less than half a batch.
    assert costs_of(search, writer) == {"waves": first, "rows": 8 * 50}
    for _ in range(17):
        assert costs_of(search, writer) == {"waves": later, "rows": 8 * 50}
    assert costs_of(search, writer) is None
    for wave in writer.waves:
        (request,) = wave
        assert request.max_tokens == 512
        assert request.temperature == (1.0 if request.draws == 8 else 0.0)


@pytest.mark.parametrize(
    ("variant", "trajectory", "problems", "limit", "edits"),
    [
        ("gpo", 3, False, [49, 48, 47], False),
        ("ape", 0, False, [None] * 3, False),
        ("apo", 0, True, [None] * 3, True),
        ("opro", 3, False, [None] * 3, False),
        ("pe2", 3, True, [50] * 3, False),
        ("sgdm", 0, False, [None] * 3, True),
    ],
)
def test_what_the_presets_show(
    variant: str, trajectory: int, problems: bool, limit: list[Any], edits: bool
) -> None:
    search, writer = gpo(variant=variant)
    made = [search.step() for _ in range(3)]
    assert [step.details["limit"] for step in made if step] == limit
    user = writer.waves[-1][0].user
    assert len(shown(writer.waves[-1][0])) == trajectory
    assert ("What is wrong with the current instruction:\n\nremark " in user) is problems
    assert ("Edit the current" in user) is edits
    assert (f"{limit[-1]} words" in user) is (limit[-1] is not None)
    assert ("merged into one text" in user) is (variant == "sgdm")
    assert user.count("Asked: Is number") == user.count("? <instruction>\n") == 3
    assert "{" not in user and "\n\n\n" not in user and "think" in user


def test_steps_of_a_search() -> None:
    """Whole batches, and the rest where it is at least half of one; once there is any question."""
    for rows, size, expected in [(50, 8, 6), (48, 8, 6), (20, 8, 3), (19, 8, 2), (100, 8, 13)]:
        assert len(batches(rows, size)) == expected == rows // size + (rows % size >= size / 2)
    assert batches(20, 8) == [range(0, 8), range(8, 16), range(16, 20)]
    assert batches(3, 8) == [range(0, 3)]
    assert gpo(questions=20, epochs=2)[0].length == 6


@given(rows=st.integers(1, 60), size=st.integers(1, 20))
def test_batches_are_in_order_and_apart(rows: int, size: int) -> None:
    found = batches(rows, size)
    assert [row for batch in found for row in batch] == list(range(found[-1].stop))
    assert len(found) == max(1, rows // size + (rows % size >= size / 2))
    assert all(len(batch) == size for batch in found[:-1]) and found[-1].stop <= rows


def limits(steps: int, decay: str, initial: int, final: int, warmup: int = 0) -> list[int]:
    found = range(1, steps + 1)
    return [edit_limit(step, steps, decay, initial, final, warmup) for step in found]


def test_edit_limits() -> None:
    assert limits(18, "cosine", 50, 10) == COSINE_50_TO_10
    assert limits(4, "cosine", 20, 4) == [17, 12, 6, 4]
    assert limits(4, "linear", 50, 10) == [40, 30, 20, 10]
    assert limits(4, "fixed", 50, 10) == [50] * 4
    assert limits(8, "cosine", 50, 10, warmup=5) == [10, 20, 30, 40, 50, 40, 20, 10]
    assert limits(7, "linear", 50, 10, warmup=5) == [10, 20, 30, 40, 50, 30, 10]
    search, writer = gpo()
    while search.step():
        pass
    told = [re.search(r"at most (\d+) words", wave[0].user) for wave in writer.waves]
    assert [int(found[1]) for found in told if found] == COSINE_50_TO_10


@given(
    steps=st.integers(1, 40),
    decay=st.sampled_from(["fixed", "linear", "cosine"]),
    sizes=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    warmup=st.integers(0, 39),
)
def test_an_edit_limit_falls_to_the_final_one(
    steps: int, decay: str, sizes: tuple[int, int], warmup: int
) -> None:
    final, initial = sorted(sizes)
    warmup = min(warmup, steps - 1)
    found = limits(steps, decay, initial, final, warmup)
    assert found[-1] == (initial if decay == "fixed" else final)
    assert found[warmup:] == sorted(found[warmup:], reverse=True)
    assert all(1 <= limit <= initial for limit in found)


TEXTS = st.lists(st.sampled_from("abc"), max_size=6).map(" ".join)


@given(one=TEXTS, two=TEXTS, three=TEXTS)
def test_edits_are_a_distance_between_words(one: str, two: str, three: str) -> None:
    assert (edits(one, two) == 0) == (one == two)
    assert edits(one, two) == edits(two, one) <= edits(one, three) + edits(three, two)
    assert edits(one, f"{one} x") == 1 and edits("", two) == len(two.split())


def test_an_edit_limit_may_be_enforced() -> None:
    def script(request: Request, number: int) -> str:
        words = " ".join(f"w{request.seed % 97}{i}" for i in range(3 * number))
        return f"<prompt>think {words}</prompt>"

    sizes: dict[str, Any] = {"initial_step_size": 4, "final_step_size": 4, "proposals": 3}
    expected: dict[str, Any] = {
        "advise": ([[1, 3]], [3, 6]),
        "reject": ([[1, 3]], [3]),
        "retry": ([[1, 3], [1, 1]], [3]),
    }
    for enforce, (waves, found) in expected.items():
        writing = WriterSettings.default(parse_retries=1)
        search, writer = gpo(script=script, enforce=enforce, writer=writing, **sizes)
        made = search.step()
        assert made is not None and made.details["edits"] == found
        assert [[len(wave), *(each.draws for each in wave)] for wave in writer.waves] == waves
        assert made.details["dropped"].get("far", 0) == (enforce != "advise")


def ranked(rule: str, history: list[Attempt], current: str) -> list[str]:
    """The texts of ``history``, best first by the definition of the rule."""
    vectors = BagOfWords().embed([each.text for each in history])
    here = vectors[[each.text for each in history].index(current)]

    def rank(i: int) -> tuple[float, float]:
        each = history[i]
        if rule == "recency":
            return -each.step, 0
        if rule == "importance":
            return -each.score, each.step
        return each.text != current, -vectors[i] @ here

    return [history[i].text.strip() for i in sorted(range(len(history)), key=rank)]


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("rule", ["recency", "relevance", "importance"])
def test_momentum_selects_and_orders(rule: str, order: str) -> None:
    steps = count()

    def script(request: Request, number: int) -> str:
        """Better ones, then worse ones, each with words of its own."""
        step = next(steps)
        good = sorted(HIDDEN)[: 5 - abs(step - 3)]
        return f"<prompt>{' '.join(good)} {VOCABULARY[step]} step {step}</prompt>"

    search, writer = gpo(
        enough_words, script, momentum_selection=rule, order=order, proposals=1, select="novel"
    )
    for _ in range(7):
        wanted = ranked(rule, list(search.trajectory.attempts), search.incumbent.text)[:3]
        search.step()
        found = shown(writer.waves[-1][0])
        assert found == (wanted[::-1] if order == "ascending" else wanted)
    assert len(search.trajectory.attempts) == 8


def test_a_merging_momentum_sums_up_what_was_before() -> None:
    search, writer = gpo(variant="sgdm")
    for _ in range(3):
        search.step()
    chosen = [attempt.text.strip() for attempt in search.trajectory.attempts]
    merges = [wave[0].user for wave in writer.waves if "Merge them" in wave[0].user]
    assert len(merges) == 2 and f"First text:\n\n{START.strip()}\n" in merges[0]
    first = f"merged {writer.waves[1][0].seed}"
    assert f"First text:\n\n{first}\n" in merges[1]
    for merge, newest in zip(merges, chosen[1:], strict=False):
        assert f"Second text:\n\n{newest}\n" in merge
    assert f"merged into one text:\n\nmerged {writer.waves[3][0].seed}\n" in writer.waves[4][0].user


@pytest.mark.parametrize("update", ["list", "merge"])
def test_momentum_of_feedback(update: str) -> None:
    search, writer = gpo(
        variant="pe2", momentum="feedback", momentum_update=update, momentum_count=2
    )
    for _ in range(3):
        search.step()
    said = [attempt.text for attempt in search.feedback.attempts]
    user = writer.waves[-1][0].user
    assert len(said) == 3 and "What is wrong with the current" not in user
    if update == "list":
        assert f":\n\n{said[1]}\n\n{said[2]}\n\n" in user and said[0] not in user
        assert [len(writer.waves)] == [6]
    else:
        assert search.merged and f"merged into one text:\n\n{search.merged.text}\n\n" in user
        assert [len(writer.waves)] == [8]


def test_feedback_is_about_the_batch() -> None:
    search, writer = gpo(variant="apo", questions=20)
    for step in range(6):
        search.step()
        user = writer.waves[2 * step][0].user
        asked = [int(number) for number in re.findall(r"Is number (\d+) right", user)]
        first = 8 * (step % 3)
        assert asked == list(range(first + 1, min(first + 8, 20), 2))
    assert search.scorer.ledger.reused  # What is known of the batch is not computed again.


def test_without_a_mistake_no_feedback_is_asked_for() -> None:
    search, writer = gpo(lambda words, question: True, variant="apo")
    assert costs_of(search, writer) == {"waves": [[1, 8]], "rows": 8 * 50}
    assert "What is wrong" not in writer.waves[0][0].user


def test_novel_goes_on_from_what_is_worse_and_elitist_does_not() -> None:
    def worse(words: set[str], question: int) -> bool:
        return "think" in words or question % 2 == 0

    for select in ("novel", "elitist"):
        search, _ = gpo(worse, select=select)
        made = search.step()
        assert made is not None and made.accepted is (select == "novel")
        assert (search.incumbent.text == START) is (select == "elitist")
        assert search.leaderboard.best.text == START
        assert [attempt.score for attempt in search.trajectory.attempts] == [1.0, 0.5]


def test_evaluating_makes_no_step() -> None:
    search, writer = gpo(only_evaluate=True)
    assert costs_of(search, writer) is None and not writer.waves
    assert search.scorer.ledger.evaluations == 50


def edited(request: Request, number: int) -> str:
    """The current prompt with one word edited."""
    current = request.user.partition("The current instruction:\n\n")[2].partition("\n\n")[0]
    return edited_words(replace(request, user=f"<prompt>{current}"), number)


def test_a_planted_rule_is_found() -> None:
    for seed in range(3):
        search, _ = gpo(enough_words, edited, questions=24, seed=seed, epochs=5)
        while search.step() and search.incumbent.scored.wrong:
            pass
        # A sixth of the questions needs each of the five words, and a sixth none.
        assert search.initial.scored.wrong == 20 / 24
        assert (search.incumbent.scored.wrong or 0) <= 1 / 6


@pytest.mark.parametrize("variant", ["gpo", "pe2", "sgdm"])
def test_a_search_goes_on_where_its_state_was_taken(variant: str) -> None:
    search, writer = gpo(variant=variant)
    for _ in range(2):
        search.step()
    state, chance, waves = search.state_dict(), search.tools.rng.getstate(), len(writer.waves)
    expected = [search.step() for _ in range(2)]
    other, again = gpo(variant=variant)
    other.load_state_dict(state)
    other.tools.rng.setstate(chance)
    assert [other.step() for _ in range(2)] == expected
    assert again.waves == writer.waves[waves:]


def test_a_forced_resume_begins_anew_with_the_best() -> None:
    search, _ = gpo()
    search.step()
    other, writer = gpo(variant="opro", momentum_count=20, seed=1)
    other.carry_over(search.state_dict())
    assert other.made_rounds == 0 and len(other.trajectory.attempts) == 9
    assert costs_of(other, writer) == {"waves": [[1, 8]], "rows": 8 * 50}
    assert len(shown(writer.waves[0][0])) == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": "feedback"}, "no feedback is asked for; give gradient=feedback"),
        ({"refine": "edit"}, "none is asked for; give refine=edit_without"),
        ({"gradient": "feedback"}, "refine=generate_without does not show it"),
        ({"momentum_update": "none"}, "give momentum_update=list or merge"),
        ({"momentum_selection": "none"}, "give recency, relevance or importance"),
        ({"momentum_count": 0}, "0 of the earlier steps are selected by relevance"),
        (
            {"variant": "pe2", "momentum": "feedback", "momentum_selection": "importance"},
            "feedback has no score",
        ),
        ({"decay": "none"}, "give fixed, linear or cosine, or learning_rate=wo_lr"),
        ({"initial_step_size": 0}, "give at least 1"),
        ({"final_step_size": 60}, "fall from 50 to 60 words"),
        ({"final_step_size": 0}, "fall from 50 to 0 words"),
    ],
    ids=str,
)
def test_what_does_not_go_together(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        GpoSettings.default(**settings)
    assert all(key.startswith("gpo.") for key in caught.value.keys)


def test_a_warm_up_ends_within_the_search() -> None:
    with pytest.raises(InputError, match="warm-up of 18 steps leaves none of the search's 18"):
        GpoSettings.default(warmup=True, warmup_steps=18).check_examples(range(50))
    GpoSettings.default(warmup=True, warmup_steps=17).check_examples(range(50))


def test_the_names_and_values_of_the_published_code(tmp_path: Path) -> None:
    """Those of the released sweep, with its misspelt values."""
    published: dict[str, Any] = {
        "optimizer_llm_name": "a writer", "optimizer_temperature": 1.0,
        "initial_instruction": " Let's think step by step.", "num_search_epochs": 3,
        "opt_batch_size": 8, "num_generated_instructions_in_each_step": 8, "gradient_name": "-",
        "momentum_para_name": "para", "momentum_selection_name": "relavance",
        "momentum_selection_num": 3, "momentum_update_name": "k-list", "learning_rate_name": "w_lr",
        "initial_step_size": 50, "decay_strategy": "consine", "use_warmup_strategy": False,
        "warmup_steps": 5, "final_step_size": 10, "util_gradient_name": "generate_without",
        "format_data_num": 3, "only_evaluate": False,
    }  # fmt: skip
    config = make_config()
    config.method, config.train_data = "gpo", "snarks.json"
    config.model_paths = config.scorer_llm_name = ("a model",)
    config.embed.model = str(tmp_path)
    for name, value in published.items():
        config[name] = value
    made = plan(values_of(config))
    assert made.method == GpoSettings.default() and made.method.embeds
    assert (made.writer.model, made.writer.temperature) == ("a writer", 1.0)
    assert made.params["gpo.decay"] == "cosine"


def test_the_encoder_is_only_needed_for_relevance() -> None:
    assert GpoSettings.default().embeds
    for others in ({"variant": "sgdm"}, {"variant": "ape"}, {"momentum_selection": "recency"}):
        assert not GpoSettings.default(**others).embeds
