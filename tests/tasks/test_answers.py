from __future__ import annotations

import pytest

from prompt_optimization.tasks.answers import flexible_match, strict_match


@pytest.mark.parametrize(
    ("text", "answer", "strict", "flexible"),
    [
        ("8$.", "8", True, True),
        (" 8.\n\nNow", "8", True, True),
        ("8 apples", "8", True, True),
        ("80", "8", False, False),
        ("8.5", "8", False, False),
        ("8,000", "8", False, False),
        ("8,000", "8000", False, True),
        ("$8", "8", False, True),
        ("-50", "50", False, False),
        ("-50", "-50", True, True),
        ("50", "-50", False, False),
        ("about 12, not 13", "12", False, True),
        ("10 + 5 = 15", "15", False, False),
        ("A", "A", True, True),
        ("(A) the fern", "A", False, True),
        ("Answer: B", "B", False, True),
        ("A", "B", False, False),
        ("Apple", "A", False, False),
        ("True.", "True", True, True),
        ("true", "True", False, True),
        ("not False", "True", False, False),
        ("Yes, it is", "Yes", True, True),
        ("No", "Yes", False, False),
        ("Yesterday", "Yes", False, False),
        ("apple river stone", "apple river stone", True, True),
        ("Apple, river, stone.", "apple river stone", False, True),
        ("apple stone river", "apple river stone", False, False),
        ("] ) }", "] )", False, False),
        ("] )$ and so", "] )", True, True),
        ("'] )'", "] )", False, True),
        ("apple river stone tower", "apple river stone", False, False),
        ("apple river stone$, sorted", "apple river stone", True, True),
        ("1. apple\n2. river\n3. stone", "apple river stone", False, True),
        ("apple; river; and stone", "apple river stone", False, True),
        ("1/2", "1", False, False),
        ("50-20", "50", False, False),
        ("\u221250", "50", False, False),
        ("\u221250", "-50", False, True),
        ("- 50", "50", False, False),
        ("-$50", "50", False, False),
        ("-$50", "-50", False, True),
        ("8,5", "85", False, False),
        ("+50", "50", False, True),
        ("8.0", "8", False, True),
        ("12,345,678 people", "12345678", False, True),
        ("not valid", "valid", False, False),
        ("non-valid", "valid", False, False),
        ("it is invalid", "invalid", False, True),
        ("b", "B", False, True),
        ("(b)", "B", False, True),
        ("I think B", "B", False, True),
        ("I'd say (C).", "C", False, True),
        ("A close look gives (B)", "B", False, True),
        ("I", "I", True, True),
        ("A is right", "A", True, True),
        ("the bee", "B", False, False),
        ("])", "] )", False, True),
        (") ]", "] )", False, False),
        ("", "8", False, False),
    ],
)
def test_readings(text: str, answer: str, strict: bool, flexible: bool) -> None:
    assert strict_match(text, answer) is strict
    assert flexible_match(text, answer) is flexible


@pytest.mark.parametrize("answer", ["8", "-12", "A", "True", "No", "apple pear", "] } >"])
def test_every_answer_matches_itself(answer: str) -> None:
    assert strict_match(answer, answer) and flexible_match(answer, answer)
