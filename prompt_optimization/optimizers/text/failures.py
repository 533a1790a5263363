"""What a prompt got wrong, as a writer is shown it."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_optimization.scoring.scorer import Transcript

# Words that are shown of a long reasoning, from each of its ends.
SHOWN = 120


def failures(transcripts: Sequence[Transcript]) -> list[Transcript]:
    """The wrong ones, in their order."""
    return [transcript for transcript in transcripts if not transcript.right]


def shortened(text: str, words: int = SHOWN) -> str:
    """The first and the last ``words`` words of ``text``, with a mark where words are left out."""
    found = text.split()
    if len(found) <= 2 * words:
        return text.strip()
    return f"{' '.join(found[:words])} [...] {' '.join(found[-words:])}"


def verdict(transcript: Transcript) -> str:
    """Whether the answer is right, or what it is worth where the metric grades answers."""
    if transcript.value in (0, 1):
        return f"This answer is {'right' if transcript.right else 'wrong'}."
    return f"This answer is worth {round(100 * transcript.value)} of 100."


def described(transcript: Transcript) -> str:
    """One of them in words."""
    ending = "\n(The reasoning was ended by its limit.)" if transcript.cut else ""
    return (
        f"Question: {transcript.question}\n"
        f"Reasoning: {shortened(transcript.reasoning)}{ending}\n"
        f"Answer: {transcript.answer.strip()}\n"
        f"Right answer: {transcript.reference}"
    )
