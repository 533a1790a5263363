"""Metrics that count what a text and a reference share: graded, from nothing to all of it."""

from __future__ import annotations

import re
import string
from collections import Counter

from prompt_optimization.extras import require_package
from prompt_optimization.tasks.metrics.metric import OVER_REFERENCES, Metric, best

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
# All that the package counts.
_NO_WORD = "has no letter or digit of ASCII"
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _words(text: str) -> list[str]:
    """Words as SQuAD counts them: without case, punctuation and articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _f1(text: str, reference: str) -> float:
    """The harmonic mean of precision and recall of the words (Rajpurkar et al., 2016)."""
    written, expected = _words(text), _words(reference)
    if not written or not expected:
        return 0.0  # a text that states nothing is never right
    shared = (Counter(written) & Counter(expected)).total()
    return 2 * shared / (len(written) + len(expected))


F1 = Metric(
    "f1",
    best(_f1),
    demand=lambda reference: None if _words(reference) else "has no word besides articles",
)


def rouge_l(over_references: str) -> Metric:
    """The F-measure of the longest common subsequence of words (Lin, 2004).

    Args:
        over_references: one of ``OVER_REFERENCES``.

    Raises:
        InputError: the package that computes it is missing.
    """
    require_package("the metric 'rouge_l'", "rouge", "rouge_score", key="metric")
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    over = OVER_REFERENCES[over_references]
    scorer = RougeScorer(["rougeL"], tokenizer=DefaultTokenizer())
    return Metric(
        "rouge_l",
        over(lambda text, reference: scorer.score(reference, text)["rougeL"].fmeasure),
        demand=lambda reference: None if re.search("[a-z0-9]", reference.lower()) else _NO_WORD,
    )
