"""Reward models learn which prompt suits which question; rules choose; figures are right."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.artifacts import Artifacts
from prompt_optimization.optimizers.oirl import stages as stages_module
from prompt_optimization.optimizers.oirl.estimators import Lessons, pairs
from prompt_optimization.optimizers.oirl.measure import lookup, of_choices, of_rewards
from prompt_optimization.optimizers.oirl.outcomes import Outcomes
from prompt_optimization.optimizers.oirl.recommend import Recommender
from prompt_optimization.optimizers.oirl.report import lines
from prompt_optimization.optimizers.oirl.reward import RewardModel, fit_reward
from prompt_optimization.optimizers.oirl.select import choose
from prompt_optimization.optimizers.oirl.settings import KINDS, OirlSettings
from prompt_optimization.optimizers.oirl.stages import Stages
from tests.optimizers.oirl.test_outcomes import table_of

WIDTH = 12
# Small enough for tables of a few hundred pairs.
SMALL: dict[str, Any] = {"rounds": 60, "eta": 0.2, "leaves": 7, "depth": 3}
# A question of either kind is answered best under another prompt.
RATES = {"apples": (0.9, 0.2, 0.5), "planets": (0.2, 0.9, 0.5)}


class PlantedEncoder:
    """Texts of a kind have similar vectors; counts what it encodes."""

    name = "planted"

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def embed(self, texts: Any) -> Any:
        rows = [self._vector(text) for text in texts]
        return np.stack(rows).astype(np.float32)

    def _vector(self, text: str) -> Any:
        self.encoded.append(text)
        kind = next((each for each in RATES if each in text), text.split()[0])
        centre = np.random.default_rng(sum(map(ord, kind))).normal(size=WIDTH)
        own = np.random.default_rng([*text.encode()]).normal(size=WIDTH)
        vector = centre + 0.3 * own
        return vector / np.linalg.norm(vector)


def planted_table(count: int = 80, draws: int = 4, heldout: bool = False) -> Outcomes:
    """Outcomes drawn with ``RATES``; the held-out prompt is right half of the time."""
    rng = np.random.default_rng(0)
    kinds = [[*RATES][n % 2] for n in range(count)]
    rates = np.array([RATES[kind] for kind in kinds])[:, : 3 if heldout else 2]
    return table_of(
        tuple(f"How many {kind} are {n}?" for n, kind in enumerate(kinds)),
        rng.binomial(draws, rates),
        np.full(rates.shape, draws),
        heldout=[False, False, True][: rates.shape[1]],
    )


def lessons_of(table: Outcomes, encoder: Any) -> Lessons:
    prompts = encoder.embed([prompt.strip() for prompt in table.prompts])
    return Lessons(encoder.embed(table.questions), prompts, table.right, table.draws)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_what_depends_on_question_and_prompt(kind: str) -> None:
    encoder = PlantedEncoder()
    all_of_them = lessons_of(planted_table(), encoder)
    fit, check = (
        Lessons(all_of_them.questions[rows], all_of_them.prompts, all_of_them.right[rows],
                all_of_them.draws[rows])
        for rows in (slice(0, 60), slice(60, 80))
    )  # fmt: skip
    own = OirlSettings.default(reward=kind, **SMALL)
    model = fit_reward(own, fit, check, seed=1)
    new = encoder.embed([f"How many {kind} are {n}?" for n, kind in product((90, 91), RATES)])
    scores = model.scores(new, fit.prompts)
    assert scores.shape == (4, 2) and ((scores >= 0) & (scores <= 1)).all()
    assert scores.argmax(1).tolist() == [0, 1, 0, 1]
    # Rates, not bits: the chance of a right answer is what was planted.
    assert np.abs(scores - [[0.9, 0.2], [0.2, 0.9]] * 2).mean() < 0.15
    again = RewardModel.of_bytes(model.to_bytes())
    np.testing.assert_array_equal(again.scores(new, fit.prompts), scores)
    assert fit_reward(own, fit, check, seed=1).to_bytes() == model.to_bytes()


def test_a_pair_counts_as_often_as_it_was_drawn() -> None:
    lessons = Lessons(
        np.eye(2, dtype=np.float32),
        np.ones((1, 2), np.float32),
        np.array([[3.0], [0.0]]),
        np.array([[4], [2]]),
    )
    x, y, w = lessons.weighted()
    assert y.tolist() == [1, 0, 0] and w.tolist() == [3, 1, 2]
    assert x.tolist() == [[1, 0, 1, 1], [1, 0, 1, 1], [0, 1, 1, 1]]
    assert pairs(*(np.array([[2.0]]), np.array([[3.0]])), products=True).tolist() == [[2, 3, 6]]


def test_early_stopping_and_calibration_look_at_other_questions() -> None:
    encoder = PlantedEncoder()
    fit = lessons_of(planted_table(40), encoder)
    noise = np.random.default_rng(1).integers(0, 2, fit.right.shape).astype(float)
    check = Lessons(fit.questions, fit.prompts, noise, np.ones_like(fit.draws))
    own = {"patience": 3, "rounds": 300, "leaves": 7}
    stopped = fit_reward(OirlSettings.default(**own), fit, check, 0)
    assert stopped.estimator.rounds < 20
    # Nothing was learnt about noise, so the chances say so.
    assert np.ptp(stopped.scores(fit.questions, fit.prompts)) < 0.5
    plain = fit_reward(OirlSettings.default(**own, calibrate=False), fit, check, 0)
    assert (plain.slope, plain.intercept) == (1, 0)
    without = fit_reward(OirlSettings.default(**own), fit, None, 0)
    assert without.estimator.rounds == 300


SCORES = np.array([[0.4, 0.4, 0.1, 0.9], [0.7, 0.2, 0.1, 0.6], [0.1, 0.3, 0.8, 0.2]])


@pytest.mark.parametrize(
    ("rule", "chosen"),
    [("irl0", [1, 0, 1]), ("irl10", [3, 0, 2]), ("heldout", [3, 3, 2]), ("mixed", [3, 0, 2])],
)
def test_rules(rule: str, chosen: list[int]) -> None:
    heldout = np.array([False, False, True, True])
    means = np.array([0.2, 0.3, np.nan, np.nan])  # Decides between the first two of row 0.
    assert choose(rule, SCORES, heldout, means, 0.5).tolist() == chosen
    alone = choose(rule, SCORES[:, :2], heldout[:2], means[:2], 0.5)
    assert alone.tolist() == [1, 0, 1]


def test_figures_of_rewards_on_a_table_by_hand() -> None:
    table = table_of(("a?", "b?"), [[1, 2], [0, 1]], [[1, 2], [1, 4]])
    found = of_rewards(table, np.array([[0.8, 0.6], [0.6, 0.1]]))
    assert found["pairs"] == 4 and found["answers"] == 8 and found["base_rate"] == 0.5
    assert found["accuracy"] == pytest.approx((1 / 2 + 5 / 6) / 2)
    assert found["precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["recall"] == pytest.approx((1 + 2 / 3) / 2)
    losses = [np.log(0.8), 2 * np.log(0.6), np.log(0.4), np.log(0.1), 3 * np.log(0.9)]
    assert found["log_loss"] == pytest.approx(-sum(losses) / 8)
    # Of pairs of a right and a wrong answer under a prompt; half where they have the same score.
    assert found["auc"] == pytest.approx((1 + (2 * 3 + 0.5 * 3) / 9) / 2)
    assert of_rewards(table_of(("a?",), [[1]]), np.array([[0.5]]))["auc"] is None
    assert of_rewards(table.columns([]), np.zeros((2, 0))) == {}


def test_figures_of_choices() -> None:
    table = table_of(
        ("a?", "b?", "c?", "d?"),
        [[1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]],
        [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 0]],
        heldout=[False, False, True],
    )
    scores = np.array([[0.1, 0.2, 0.9], [0.1, 0.2, 0.3], [0.9, 0.2, 0.1], [0.1, 0.9, 0.2]])
    means = np.array([0.4, 0.6, np.nan])
    found = of_choices(table, scores, means, {}, OirlSettings.default())
    # The best prompt by training is the second; by test it is the first.
    assert found["best_single"]["value"] == 0.5 and found["best_on_test"]["value"] == 0.75
    assert found["irl0"]["value"] == 0.5 and found["irl0"]["differs"] == 0.25
    # Where a held-out prompt might have been chosen, only rows on which it was tried count.
    assert found["mixed"]["n"] == 3 and found["mixed"]["value"] == 1
    assert found["mixed"]["gain"]["value"] == pytest.approx(1 / 3)
    assert found["oracle"]["value"] == 1 and found["oracle"]["n"] == 4


def test_a_lookup_knows_what_was_trained_on() -> None:
    learnt = table_of(("a?", "b?", "b?"), [[1, 0], [0, 1], [1, 1]])
    asked = table_of(("B?", "new?"), [[0, 0], [0, 0]])
    assert lookup(learnt, asked).tolist() == [[0.5, 1], [pytest.approx(2 / 3)] * 2]


def run(table: Outcomes, kept: Artifacts, encoder: Any, **own: Any) -> dict[str, Any]:
    settings = OirlSettings.default(**{**SMALL, **own})
    return Stages(settings, table, encoder, kept, seed=3).report()


def test_a_stage_is_done_again_only_where_it_depends_on_what_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits = []
    fit = stages_module.fit_reward
    monkeypatch.setattr(stages_module, "fit_reward", lambda *a: fits.append(1) or fit(*a))
    kept, encoder, table = Artifacts(), PlantedEncoder(), planted_table(heldout=True)
    first = run(table, kept, encoder)
    texts = len({*encoder.encoded})
    assert len(fits) == 1 and run(table, kept, encoder) == first and len(fits) == 1
    assert run(table, kept, encoder, threshold=0.7) != first and len(fits) == 1
    run(table, kept, encoder, rounds=61)
    assert len(fits) == 2 and len({*encoder.encoded}) == texts
    probe = encoder.encoded[0]  # What distinguishes encoders is encoded every time.
    assert sum(text != probe for text in encoder.encoded) == texts - 1
    run(planted_table(60, heldout=True), kept, encoder, rounds=61)
    assert len(fits) == 3


def test_a_planted_table_is_worth_choosing_by(capsys: pytest.CaptureFixture[str]) -> None:
    kept, encoder = Artifacts(), PlantedEncoder()
    report = run(planted_table(200, heldout=True), kept, encoder)
    (whole,) = report["sets"]
    gain = whole["choices"]["irl0"]["gain"]
    assert gain["low"] > 0.1 and whole["seen"]["auc"] > 0.8
    assert whole["choices"]["oracle"]["value"] >= whole["choices"]["irl0"]["value"]
    shown = "\n".join(lines(report))
    assert "IRL 0" in shown and "0 of 60 test questions are also learnt from" in shown
    header, row = (kept.get("report.csv") or b"").decode().splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert float(values["IRL 0 Mean"]) == whole["choices"]["irl0"]["value"]
    assert values["X"] == "2" and values["IRL 100 Mean"] == ""
    recommender = Recommender.of(kept, encoder)
    found = [recommender.recommend(f"How many {kind} are 777?") for kind in RATES]
    assert [each.prompt for each in found] == [" prompt 0", " prompt 1"]
    assert found[0].chance > 0.7 and recommender.measured["gain"] == gain


def test_every_subset_has_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Artifacts()
    report = run(planted_table(heldout=True), kept, PlantedEncoder(), subsets="all", rounds=5)
    assert [len(each["prompts"]) for each in report["sets"]] == [1, 1, 2]
    assert any("one prompt does not rank held-out prompts" in text for text in report["warnings"])
    rows = (kept.get("report.csv") or b"").decode().splitlines()
    assert [row.split(",")[0] for row in rows] == ["X", "1", "2"]


def test_the_published_behaviour_says_that_it_leaks() -> None:
    table = planted_table()
    test = np.arange(80) >= 60
    questions = (*table.questions[:60], *table.questions[:20])
    leaking = table_of(questions, table.right, table.draws, test=test)
    report = run(leaking, Artifacts(), PlantedEncoder(), behaviour="published", subsets="whole")
    assert report["split"]["repeated"] == 20
    warned = " ".join(report["warnings"])
    assert "repeats the release" in warned and "20 of 20 test questions" in warned
    assert any("20 of 20 test questions" in line for line in lines(report))
    with pytest.raises(InputError, match="of 20 test rows of the table, 20 ask"):
        run(leaking, Artifacts(), PlantedEncoder(), split="table")


@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_without_test_questions_nothing_is_measured(validation: float) -> None:
    kept, encoder = Artifacts(), PlantedEncoder()
    report = run(planted_table(), kept, encoder, test_share=0.0, validation=validation)
    assert report["sets"][0]["choices"] == {} and report["split"]["test"] == 0
    assert lines(report)
    assert Recommender.of(kept, encoder).measured == {"auc": None, "gain": None}


def test_what_is_kept_damaged_or_not_at_all() -> None:
    kept, encoder = Artifacts(), PlantedEncoder()
    with pytest.raises(InputError, match="has kept no reward model"):
        Recommender.of(kept, encoder)
    run(planted_table(), kept, encoder)
    about = json.loads(kept.get("recommender.json") or b"")
    for broken in ({}, about | {"reward": "none"}, about | {"means": []}):
        kept.put("recommender.json", "", json.dumps(broken).encode())
        with pytest.raises(InputError, match="damaged"):
            Recommender.of(kept, encoder)
    kept.put("recommender.json", "", json.dumps(about).encode())
    kept.put(about["reward"], "", b'{"kind": "knn", "rounds": 0, "slope": 1, "intercept": 0}\nx')
    with pytest.raises(InputError, match="damaged"):
        Recommender.of(kept, encoder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompts": ("steps",)}, "there is one prompt"),
        ({"prompts": (), "heldout": ("steps", "plain")}, "no prompt to learn from"),
        ({"prompts": ("steps", " ")}, "is empty"),
        ({"prompts": ("steps", "steps")}, "given twice"),
        ({"prompts": ("steps", "plain"), "heldout": ("State the  answer.",)}, "given twice"),
        ({"prompts": tuple(f"p{n}" for n in range(9)), "subsets": "all"}, "511 subsets"),
        ({"prompts": tuple(f"p{n}" for n in range(201))}, "too many"),
        ({"rules": ("irl1",)}, "rule 'irl1' is unknown; did you mean 'irl10'"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OirlSettings.default(**settings)


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for kind, package in (("xgboost", "xgboost"), ("knn", "sklearn")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)  # as if it were not installed
            with pytest.raises(InputError, match=rf"{package}; .*\[oirl\]"):
                OirlSettings.default(reward=kind)
