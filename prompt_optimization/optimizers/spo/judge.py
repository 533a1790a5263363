"""From what a judge says to whether a challenger takes the incumbent's place. Knows no model.

A ballot is one reading of two answers: 1 for the challenger's, -1 for the incumbent's, 0 for a tie
or a reply that cannot be used. The ballots of a question decide it together. Where the letters'
probabilities are known, all readings of a question make one ballot.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from prompt_optimization.optimizers.text.parse import tagged, without_thinking
from prompt_optimization.optimizers.text.racing import sign_test
from prompt_optimization.scoring.finalists import form
from prompt_optimization.tasks.reading.labels import chosen_letter

LETTERS = ("A", "B")


def choice_of(reply: str, raw: bool = False) -> str | None:
    """The letter that a reply chooses; None where it chooses none.

    Args:
        raw: read the whole reply where there are no tags.
    """
    text = without_thinking(reply)
    found = tagged(text, "choice")
    letter = found[-1].strip().upper() if found else (chosen_letter(text) if raw else None)
    return letter if letter in LETTERS else None


def ballot(choice: str | None, swapped: bool) -> int:
    """The vote of a choice.

    Args:
        swapped: the challenger's answer was A; otherwise the incumbent's.
    """
    if choice is None:
        return 0
    return 1 if (choice == "A") == swapped else -1


def leaning(probabilities: Sequence[float], swapped: bool) -> float:
    """How far a reading leans to the challenger: the log-odds of its letter, in nats.

    A judge that prefers a letter whatever the answers are adds the same to the log-odds of that
    letter in both orders, so it cancels in their sum.

    Args:
        probabilities: of the two letters as the next token.
        swapped: the challenger's answer was A; otherwise the incumbent's.
    """
    first, second = (math.log(max(each, sys.float_info.min)) for each in probabilities)
    return first - second if swapped else second - first


def verdict(ballots: Sequence[int]) -> int:
    """Who has more than half of ``ballots``: 1, -1, or 0 for nobody. A ballot without a vote
    counts as one that is missing to a majority."""
    for side in (1, -1):
        if 2 * ballots.count(side) > len(ballots):
            return side
    return 0


@dataclass(frozen=True)
class Tally:
    """What the judged questions say together.

    Attributes:
        wins, losses, ties: of the challenger, in questions.
        unusable: ballots without a vote.
        ballots: all of them.
    """

    wins: int
    losses: int
    ties: int
    unusable: int
    ballots: int

    @classmethod
    def of(cls, units: Sequence[Sequence[int]]) -> Tally:
        """Count the ballots of each question."""
        found = Counter(map(verdict, units))
        ballots = [each for unit in units for each in unit]
        return cls(found[1], found[-1], found[0], ballots.count(0), len(ballots))

    @property
    def margin(self) -> float:
        """Share of the questions that the challenger won beyond those that it lost."""
        return (self.wins - self.losses) / (self.wins + self.losses + self.ties)

    def accepts(self, rule: str, alpha: float) -> bool:
        """Whether the challenger takes the incumbent's place: it won more questions than it lost,
        or under ``sign_test`` a number of the decided ones that chance reaches with a probability
        of at most ``alpha``."""
        if rule == "majority":
            return self.wins > self.losses
        return sign_test(self.wins, self.losses) <= alpha

    def __str__(self) -> str:
        if self.unusable == self.ballots:
            return f"the judge gave no verdict in any of {self.ballots} readings; nothing changes"
        said = f"the judge: {self.wins} won, {self.losses} lost, {self.ties} tied"
        return f"{said}, {self.unusable} readings without a verdict" if self.unusable else said


def consistency(own: Sequence[str], others: Sequence[Sequence[str]]) -> float:
    """How far answers to one question agree: the share of ``own`` that agree with their most
    frequent one, and the share of other prompts whose most frequent one that is.

    Args:
        own: drawn under one prompt.
        others: drawn under each of the other prompts.
    """
    usual, count = _usual(own)
    agreeing = sum(_usual(each)[0] == usual for each in others)
    return count / len(own) + (agreeing / len(others) if others else 0.0)


def _usual(answers: Sequence[str]) -> tuple[str, int]:
    """The most frequent answer, and how often it came; among equals the first one."""
    ((usual, count),) = Counter(map(form, answers)).most_common(1)
    return usual, count


def repetition(prompt: str) -> float:
    """The share of a prompt's words that stood in it before."""
    words = prompt.casefold().split()
    return 1 - len({*words}) / len(words)
