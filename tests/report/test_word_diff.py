"""A diff of two prompts gives back both, and says which words are new."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.report.word_diff import GONE, NEW, word_diff
from prompt_optimization.tasks import texts

TEXTS = st.text(alphabet="ab \n\u2028.", max_size=30)


@given(TEXTS, TEXTS)
def test_the_pieces_make_both_prompts(before: str, after: str) -> None:
    pieces = word_diff(before, after)
    assert "".join(text for kind, text in pieces if kind != NEW) == before.strip()
    assert "".join(text for kind, text in pieces if kind != GONE) == after.strip()
    assert all(text for _, text in pieces)
    assert all(kind != other for (kind, _), (other, _) in pairwise(pieces))


def test_words_are_marked_whole() -> None:
    assert word_diff(" think step by step.", "Think step by step") == [
        ("gone", "think"), ("new", "Think"), ("same", " step by "), ("gone", "step."),
        ("new", "step"),
    ]  # fmt: skip


def test_prompts_that_share_little_and_are_huge_are_compared_whole(monkeypatch) -> None:
    monkeypatch.setattr(texts, "MOST_WORDS", 3)
    assert word_diff("same a b c d end", "same e f g h end") == [
        ("same", "same "), ("gone", "a b c d"), ("new", "e f g h"), ("same", " end"),
    ]  # fmt: skip
