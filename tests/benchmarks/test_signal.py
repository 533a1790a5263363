"""The benchmark of signals: its arithmetic, and a position measured on a tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks.signal.__main__ import measure, parser
from benchmarks.signal.correlations import over_positions, rank_correlation
from benchmarks.signal.measure import Position
from benchmarks.signal.record import load
from benchmarks.signal.report import print_report
from benchmarks.signal.signals import PHASES, Readings, exact, phases_of
from benchmarks.signal.truth import questions_needed, spread
from prompt_optimization.errors import InputError

PROMPT = "careful thought and think step by step. Finally give the answer."


@pytest.mark.parametrize("effects", [0.0, 0.03, 0.2])
def test_the_spread_and_its_noise_are_found_again(effects: float) -> None:
    rng = np.random.default_rng(0)
    candidates, questions, residual = 9, 60, 0.3
    found, correlations = [], []
    for _ in range(300):
        true = rng.normal(0, effects, (candidates, 1))
        hard = rng.normal(0, 1, (1, 2 * questions))
        table = true + hard + rng.normal(0, residual, (candidates, 2 * questions))
        same, other = table[:, :questions], table[:, questions:]
        found.append(spread(same))
        correlations.append(np.corrcoef(same.mean(1), other.mean(1))[0, 1])
    assert np.mean([each.noise for each in found]) == pytest.approx(
        residual / math.sqrt(questions), rel=0.02
    )
    variance = np.mean([each.effects**2 for each in found])
    assert variance == pytest.approx(effects**2, rel=0.15, abs=4e-4)  # never below 0
    if effects == 0.2:  # the reliability is the correlation with other questions
        assert np.mean([each.reliability for each in found]) == pytest.approx(
            np.mean(correlations), abs=0.02
        )


def test_the_number_of_questions_gives_the_reliability() -> None:
    n = questions_needed(0.05, 0.4, 0.7)
    assert n is not None
    assert 0.05**2 / (0.05**2 + 0.4**2 / n) == pytest.approx(0.7, abs=0.005)
    assert questions_needed(0.0, 0.4) is None


def test_signals_of_the_incumbent_say_that_nothing_changes() -> None:
    rng = np.random.default_rng(1)
    change = rng.normal(0, 1, (4, 5, 3))
    change[0] = 0
    losses = rng.random((4, 5, 3))
    mistakes = (losses > 0.5).astype(float)
    found = exact(Readings(change, np.clip(change, -1, 1), losses, mistakes))
    assert {len(values) for values in found.values()} == {4}
    for name in ("ratio_loss", "ratio_mistakes", "ratio_loss_by_token", "kl"):
        assert found[name][0] == 0
    assert found["weights_loss_3"][0] == pytest.approx(losses[0].mean())
    assert found["fixed_mistakes"][0] == mistakes[0].mean()
    # An edit that makes every reasoning with a loss above the mean likelier is predicted to be bad.
    change[1] = losses[0] - losses[0].mean()
    found = exact(Readings(change, change, losses, mistakes))
    assert found["ratio_loss"][1] > 0
    assert all(set(phases_of(name)) <= set(sum(PHASES.values(), ())) for name in found)


def test_correlations() -> None:
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 8, 27])) == pytest.approx(1)
    assert math.isnan(rank_correlation(np.array([1.0, 1, 1]), np.array([1.0, 8, 27])))
    assert over_positions([math.nan]) is None
    single = over_positions([0.5, math.nan])
    assert single is not None and single.value == 0.5 and math.isnan(single.low)
    several = over_positions([0.1, 0.5, 0.9, 0.3])
    assert several is not None and 0.1 <= several.low < several.value < several.high <= 0.9


@pytest.fixture
def given(saved_model: Path, task_file: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "model": saved_model,
        "data": task_file,
        "extractor": "Therefore, the final answer is $",
        "prompt": PROMPT,
        "out": tmp_path / "out",
        "dtype": "float32",
        "device": "cpu",
        "candidates": 3,
        "questions": 4,
        "others": 5,
        "draws": 2,
        "truth-draws": 2,
        "new-tokens": 5,
        "position": 2,
    }


def run(given: dict[str, Any]) -> Console:
    console = Console(width=200, record=True)
    flags = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    measure(parser().parse_args(flags), console)
    return console


def only(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def test_a_position_that_is_cut_and_continued_is_the_same(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(given | {"out": tmp_path / "whole"})
    console = run(given | {"seconds": -1})
    assert "stopped before candidates" in console.export_text()
    # Each further command ends after one piece of work.
    pieces = Position.work
    monkeypatch.setattr(
        Position,
        "work",
        lambda self, draws: (piece for piece in [next(pieces(self, draws), None)] if piece),
    )
    for _ in range(14):
        run(given)
    assert only(tmp_path / "out") == only(tmp_path / "whole")
    monkeypatch.undo()
    before = only(tmp_path / "out")
    run(given | {"truth-draws": 3})
    more = only(tmp_path / "out")
    assert [len(more["truth"][side]) for side in ("same", "other")] == [3, 3]
    assert more["truth"]["same"][:2] == before["truth"]["same"] and more["read"] == before["read"]
    with pytest.raises(InputError, match="was measured with draws=2 and not 3"):
        run(given | {"draws": 3})


@pytest.mark.parametrize("edit", ["token", "span", "clause", "prompt"])
def test_every_kind_of_edit(given: dict[str, Any], tmp_path: Path, edit: str) -> None:
    if edit == "prompt":
        (tmp_path / "prompts.txt").write_text(f"count each one\n{PROMPT}\n\nadd them up then\n")
        given = given | {"prompts": tmp_path / "prompts.txt"}
    run(given | {"edit": edit})
    (path,) = (tmp_path / "out").glob("*.json")
    record = load(path)
    texts = [each["text"] for each in record.candidates]
    assert texts[0] == f" {PROMPT}" and len(set(texts)) == len(texts) >= 3
    if edit != "prompt":
        assert all(text.startswith(" careful thought") for text in texts)
    if edit in ("token", "span"):
        assert all(text.endswith("Finally give the answer.") for text in texts)
    found = record.all_signals()
    assert ("gradient" in found) == ("proposal" in found) == (edit == "token")
    assert all(len(values) == len(texts) and np.isfinite(values).all() for values in found.values())
    assert found["ratio_loss"][0] == 0 and (found["kl"] != 0).sum() == len(texts) - 1
    assert record.table("other", "mistake").shape == (len(texts), 5)
    console = Console(width=80, record=True)
    print_report(console, [record])
    text = console.export_text()
    assert "ratio_loss" in text and "Truth: mistakes under fresh" in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"position": 99}, "--position 99 is outside the prompt"),
        ({"questions": 40, "others": 40}, "has 48 rows, not the 80"),
        ({"draws": 1}, "--draws 1 leaves nothing"),
        ({"edit": "prompt"}, "--edit prompt and --prompts go together"),
        ({"prompt": " "}, "there is no prompt to edit"),
        ({"temperature": 0}, "--temperature 0.0 draws nothing"),
        ({"extractor": ""}, "the form of the answers of"),
    ],
)
def test_what_cannot_be_used_is_refused(
    given: dict[str, Any], changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        run(given | changes)


def test_a_file_that_is_no_position_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    for text in ("[]", "{}", "not json", '{"settings": {}, "truth": 3}'):
        path.write_text(text)
        with pytest.raises(InputError, match="is no position of this benchmark"):
            load(path)
