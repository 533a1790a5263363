"""What a notebook shows of a search, and that nothing in it is taken for HTML."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from prompt_optimization.report.notebook import SHOWN, notebook_html
from prompt_optimization.scoring.held_out import HeldOut


def held_out(text: str, right: str) -> HeldOut:
    hits = {"strict": [int(each) for each in right]}
    rows = [{"question": f"question {row}"} for row in range(len(right))]
    return HeldOut(prompt=text, hits=hits, loss=None, written=rows, metric="strict")


def prompt(text: str, objective: float, right: str = "", group: int = 0) -> Any:
    test = held_out(text, right) if right else None
    return SimpleNamespace(text=text, objective=objective, group=group, test=test)


def rounds(*best: float, group: int = 0) -> list[Any]:
    return [SimpleNamespace(best=each, group=group) for each in best]


def test_verdict_prompt_changed_words_and_curve() -> None:
    html = notebook_html(
        [prompt("Use logic.", 0.8, "0" * 40)],
        [prompt("Use sums.", 0.4, "1" * 30 + "0" * 10), prompt("Use logic.", 0.8)],
        rounds(0.8, 0.5, 0.4),
    )
    assert (
        "<b>Yes: the found prompt is better. +75.0 points [" in html and "on 40 test rows" in html
    )
    assert '">Use sums.</p>' in html
    assert re.search(r"<del [^>]+>logic.</del>\s*<ins [^>]+>sums.</ins>", html)
    assert "0.800 to 0.400 in 3 rounds" in html
    assert 'points="0.0,2.0 80.0,2.0 160.0,35.0 240.0,46.0"' in html


def test_what_models_write_is_text() -> None:
    evil = '</p><script>alert("x")</script>'
    html = notebook_html(
        [prompt("plain", 0.8, "01" * 9)], [prompt(evil, 0.4, "10" * 9)], rounds(0.4)
    )
    assert "<script" not in html and html.count("&lt;script&gt;") == 2


@pytest.mark.parametrize("best", [(), (0.8, 0.8)])
def test_a_search_that_found_nothing_and_was_not_measured(best: tuple[float, ...]) -> None:
    html = notebook_html([prompt("Count.", 0.8)], [prompt("Count.", 0.8)], rounds(*best))
    assert "Not measured: no test rows were given" in html and ">Count.</p>" in html
    assert "Changed words" not in html and "<svg" not in html


def test_many_searches_and_none() -> None:
    starts = [prompt(f"prompt {group}", 0.8, group=group) for group in range(SHOWN + 2)]
    html = notebook_html(starts, starts, [])
    assert f"prompt {SHOWN - 1}<" in html and f"prompt {SHOWN}<" not in html
    assert "and 2 more searches" in html
    assert "No prompt was evaluated." in notebook_html([], [], [])
