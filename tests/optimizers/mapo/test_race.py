"""Which candidates come out of a race, what they teach, and which settings are refused."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.mapo import settings as module
from prompt_optimization.optimizers.mapo.race import Raced, halving, kind_of
from prompt_optimization.optimizers.mapo.search import Mapo
from prompt_optimization.optimizers.mapo.settings import MapoSettings
from prompt_optimization.optimizers.text.racing import Race, full


@pytest.fixture(autouse=True)
def trainer_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check_training", lambda _: None)


def carried_out(costs: Sequence[Sequence[float]], keep: int = 1) -> tuple[list[int], Race]:
    """A race by halving between prompts whose rows cost as much."""

    def pull(prompts: Sequence[int], first: int, last: int) -> list[Sequence[float]]:
        return [costs[i][first:last] for i in prompts]

    race = Race(len(costs), len(costs[0]), pull, 0, keep=keep)
    return halving(race), race


@pytest.mark.parametrize("seed", range(20))
def test_halving_never_drops_the_winner_of_noiseless_scores(seed: int) -> None:
    rng = random.Random(seed)
    worth = [rng.random() for _ in range(33)]
    found, race = carried_out([[each] * 48 for each in worth], keep=4)
    assert found[0] == min(range(33), key=worth.__getitem__)
    # The original is never dropped; a quarter of the others ran on more than the first rows.
    assert 0 in found and len(found) in (4, 5)
    lengths = sorted(len(each) for each in race.costs)
    assert lengths.count(8) in (23, 24) and 24 in lengths and lengths.count(48) == len(found)


def test_a_race_on_rows_that_all_run_on_is_the_full_one() -> None:
    rng = random.Random(0)
    costs = [[float(rng.random() < 0.5) for _ in range(8)] for _ in range(12)]
    found, race = carried_out(costs)
    assert [list(each) for each in race.costs] == costs
    assert found == full(race) and kind_of("full") is full and kind_of("halving") is halving


def test_the_policy_learns_what_did_better_than_the_original() -> None:
    race = Raced(("old", "a", "b", "c"), ((1.0, 1.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)),
                 (3, 1, 0, 2))  # fmt: skip
    assert race.winner == "c" and race.better(4) == ["c", "a"] and race.better(1) == ["c"]
    alike = Raced(("old", "a"), ((1.0, 0.0), (1.0, 0.0)), (0, 1))
    assert alike.better(4) == [] and alike.preferences(4) == []


def test_a_preference_is_a_difference_beyond_chance_on_shared_rows() -> None:
    long, short = (0.0,) * 24, (1.0,) * 8
    race = Raced(("old", "a", "b"), (long, short, (1.0, *[0.0] * 23)), (0, 2))
    # Of eight rows, eight and seven differ; one of twenty-four is luck.
    assert race.preferences(9) == [("old", "a"), ("b", "a")]
    assert race.preferences(1) == [("old", "a")]


@pytest.mark.parametrize(
    ("own", "problem", "keys"),
    [
        ({"originals": ("one", " ")}, "one of the prompts is empty", {"mapo.originals"}),
        ({"originals": ("one",), "unseen": (" one ",)}, "given twice",
         {"mapo.originals", "mapo.unseen"}),
        ({"candidates": 500}, "501 prompts would race", {"mapo.candidates"}),
        ({"rl": "grpo", "adapter": "full"}, "only a LoRA keeps", {"mapo.adapter", "mapo.kl"}),
        ({"behaviour": "published"}, "'published' is unknown", {"mapo.behaviour"}),
        ({"prefer": "rank"}, "'rank' is unknown", {"mapo.prefer"}),
        ({"rl_group": 1}, "too small", {"mapo.rl_group"}),
        ({"pool": "nowhere.txt"}, "nowhere.txt", {"mapo.pool"}),
    ],
)  # fmt: skip
def test_settings_that_cannot_work(own: dict[str, object], problem: str, keys: set[str]) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        MapoSettings.default(**own)
    assert {*caught.value.keys} == keys


def test_one_training_question_is_not_enough() -> None:
    with pytest.raises(InputError, match="none is left to measure on") as caught:
        MapoSettings.default().check_examples([object()])
    assert caught.value.keys == ("n_train_data",)
    own = MapoSettings.default()
    assert [own.held_back(count) for count in (2, 3, 40)] == [1, 1, 10]
    # The initial prompt, four candidates on three rows, and the winner on the one that is left.
    own = MapoSettings.default(candidates=4)
    assert Mapo.first_round(own, 4, 1) == 4 + 4 * 3 + 1


def test_warnings_name_what_has_no_effect(tmp_path: Path) -> None:
    assert MapoSettings.default().warnings == []
    (tmp_path / "pool.txt").write_text("one\ntwo\n")
    own = MapoSettings.default(
        pool=str(tmp_path / "pool.txt"), candidates=4, prefer="none", beta=1.0, rl_steps=3, rank=4,
        adapter="full",
    )  # fmt: skip
    assert own.offered == 2 and own.warnings == [
        "mapo.rank has no effect with mapo.adapter=full",
        "mapo.candidates has no effect with mapo.pool",
        "mapo.beta has no effect with mapo.prefer=none",
        "mapo.rl_steps has no effect with mapo.rl=none",
    ]
