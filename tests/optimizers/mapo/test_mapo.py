"""The whole method on scripted targets, each of which answers rightly where its word is in the
prompt, with a random Llama as the policy."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.mapo.settings import MapoSettings
from prompt_optimization.scoring.finalists import Text
from tests.optimizers.text.planted import Rule, planted

pytest.importorskip("trl")

from prompt_optimization.optimizers.mapo.search import Mapo

VOCABULARY = "count each one then add them up use thought and answer".split()
# By model, the word that its answers are right with.
WORDS = ("step", "careful")
TRAINED, UNSEEN = 8, 10


def some_words(seed: str, more: tuple[str, ...] = ()) -> str:
    rng = random.Random(seed)
    words = [*rng.sample(VOCABULARY, 3), *more]
    rng.shuffle(words)
    return " ".join(words)


def paraphrased(request: Request, number: int) -> str:
    """Other words; every second reply has one of ``WORDS``."""
    more = {0: WORDS[:1], 2: WORDS[1:]}.get(number % 4, ())
    return f"<prompt>{some_words(f'{request.seed} {number}', more)}</prompt>"


def with_word(word: str) -> Rule:
    """Right with the word on nine questions in ten, and on one in three without."""
    return lambda words, question: bool(question % 10 if word in words else question % 3 == 0)


def settings(writer: str, **own: Any) -> MapoSettings:
    return MapoSettings.default(
        **{
            "policy_model": writer,
            "device": "cpu",
            "adapter": "full",
            "candidates": 12,
            "length": 16,
            "top": 3,
            "epochs": 14,
            "learning_rate": 3e-3,
        }
        | own
    )


def carried_out(own: MapoSettings, **targets: Any) -> tuple[Mapo, list[dict[str, Any]]]:
    """A search to its end, and the details of its steps with their events."""
    search, _ = planted(Mapo, own, script=paraphrased, questions=40, **targets)
    steps = []
    while (made := search.step()) is not None:
        steps.append(made.details | {"events": list(made.events)})
        search.load_state_dict(search.state_dict())  # What a step leaves is all there is.
    return search, steps


@pytest.fixture(scope="module")
def done(writer: str) -> tuple[Mapo, list[dict[str, Any]]]:
    own = settings(
        writer,
        originals=tuple(some_words(f"original {n}") for n in range(1, TRAINED)),
        unseen=tuple(some_words(f"unseen {n}") for n in range(UNSEEN)),
    )
    first, second = map(with_word, WORDS)
    return carried_out(own, rule=first, others=[second])


Done = tuple[Mapo, list[dict[str, Any]]]


def test_rewrites_of_unseen_prompts_have_the_word_that_their_model_rewards(done: Done) -> None:
    search, steps = done
    stages = ["sft 0", "dpo 0", "sft 1", "dpo 1"]
    assert [step["stage"] for step in steps] == ["race"] * TRAINED + stages + ["report"]
    assert [*search.rewrites] == ["before 0", "sft 0", "dpo 0", "before 1", "sft 1", "dpo 1"]
    for target, word in enumerate(WORDS):

        def share(stage: str, word: str = word, target: int = target) -> float:
            made = search.rewrites[f"{stage} {target}"][TRAINED:]
            assert len(made) == UNSEEN
            return sum(word in text.split() for text in made) / UNSEEN

        assert share("before") == 0 and share("dpo") >= 0.9


def test_a_policy_beats_the_other_ones_on_its_own_model(done: Done) -> None:
    report = done[1][-1]
    for each in report["adapted"]:
        assert each["target"] != each["other"] and each["low"] > 0 and each["n"] == 10
    gains = {
        (each["stage"], each["policy"], each["target"], each["of"]): each["value"]
        for each in report["gains"]
    }
    names = ["planted 0", "planted 1"]
    for policy in names:
        for of in ("originals", "unseen prompts"):
            assert gains["before", policy, policy, of] == 0  # What it wrote was no prompt.
            assert gains["dpo", policy, policy, of] > 0.4
            (other,) = {*names} - {policy}
            assert abs(gains["dpo", policy, other, of]) < 0.1
        # The control of the same budget is at its ceiling here.
        assert gains["race", policy, policy, "originals"] >= gains["dpo", policy, policy, of] - 0.1
    assert len(report["gains"]) == 2 * 2 * (1 + 3 * 2)
    said = report["events"][0]
    assert said.startswith(f"the rewrites of the originals ({TRAINED}) gain +")
    assert "] over them on 10 fresh rows of planted 0" in said


def test_the_log_of_a_race_says_how_it_was_decided(done: Done) -> None:
    search, steps = done
    for step, races in zip(steps[:TRAINED], search.races, strict=True):
        assert len(step["races"]) == len(step["events"]) == 2
        count = len(step["candidates"])
        assert step["events"][1].startswith(f"the best of {count} candidates gains +")
        for word, told, race in zip(WORDS, step["races"], races, strict=True):
            assert word in told["winner"].split()
            assert race.prompts == (step["original"], *step["candidates"])
            assert [list(costs) for costs in race.costs] == told["costs"]
            assert len(race.costs[0]) == told["gain_raced"]["n"] == 30
            assert told["gain_fresh"]["n"] == 10 and told["gain_fresh"]["value"] > 0.3
    contenders = search.contenders()
    assert [*contenders][:3] == ["raced best", "before training", "rewritten"]
    assert len(contenders) == 3 + 2 * UNSEEN
    assert contenders["unseen 1"] == Text(search.unseen[0])


def test_where_all_candidates_tie_nothing_is_trained(writer: str) -> None:
    search, steps = carried_out(settings(writer), rule=lambda words, question: False)
    assert [step["stage"] for step in steps] == ["race", "sft 0"]
    assert steps[0]["events"] == ["none of 12 candidates did better than the original on planted 0"]
    (said,) = steps[-1]["events"]
    assert said == (
        "no candidate did better than its original on all rows of its race, so no policy is "
        "trained for planted 0"
    )
    assert not search.rewrites and [*search.contenders()] == ["raced best"]
    assert [each.name for each in search.finalists()]


def test_where_differences_may_be_luck_nothing_is_preferred(writer: str) -> None:
    def one_more(words: set[str], question: int) -> bool:
        return question % 2 == 0 or (WORDS[0] in words and question == 5)

    own = settings(writer, epochs=1, race="full", fresh=0.05)
    _, steps = carried_out(own, rule=one_more)
    assert [step["stage"] for step in steps] == ["race", "sft 0", "dpo 0", "report"]
    assert "nothing to prefer" in steps[2]["events"][0]


def test_grpo_asks_the_model_what_a_rewrite_is_worth(writer: str) -> None:
    own = settings(writer, adapter="lora", epochs=2, rl="grpo", rl_steps=2, rl_group=4, rl_rows=6)
    search, steps = carried_out(own, rule=with_word(WORDS[0]))
    again, same = carried_out(own, rule=with_word(WORDS[0]))
    assert [step["stage"] for step in steps[1:]] == ["sft 0", "dpo 0", "grpo 0", "report"]
    assert len(steps[3]["rewards"]) == 2 and all(-1 <= each <= 1 for each in steps[3]["rewards"])
    assert same == steps and again.rewrites == search.rewrites
    for kind, name in (("sft", "losses"), ("dpo", "losses"), ("grpo", "rewards")):
        assert json_of(search, f"{kind}-0")[name]


def json_of(search: Mapo, name: str) -> dict[str, Any]:
    data = search.tools.artifacts.get(f"{name}.json")
    assert data and search.tools.artifacts.get(f"{name}.safetensors")
    found: dict[str, Any] = json.loads(data)
    return found


def test_a_pool_takes_the_writers_place(writer: str, tmp_path: Path) -> None:
    (tmp_path / "pool.txt").write_text("count each step\nadd them up\n think\n")
    own = settings(writer, pool=str(tmp_path / "pool.txt"), originals=("use thought",), epochs=1)
    search, steps = carried_out(own, rule=with_word(WORDS[0]))
    assert [step["waves"] for step in steps] == [0] * 5
    # The initial prompt stands in the pool, and races as the original.
    assert steps[0]["dropped"] == {"same": 1} and steps[1]["dropped"] == {}
    assert all(step["candidates"] == [" count each step", " add them up"] for step in steps[:2])
    assert search.winner is not None and search.winner.text == " count each step"
    (tmp_path / "pool.txt").write_text("think\n")
    search, steps = carried_out(own, rule=with_word(WORDS[0]))
    assert [step["stage"] for step in steps] == ["race", "race", "sft 0"]
    assert "no policy is trained" in steps[-1]["events"][0]


def test_prompts_that_cannot_be_scored_are_refused(writer: str) -> None:
    with pytest.raises(InputError, match="is the initial one, which is learnt from") as caught:
        carried_out(settings(writer, unseen=("think",)))
    assert caught.value.keys == ("mapo.unseen",)
