"""What a rule of acceptance gains in a simulated search, with and without a signal that screens.

    python -m benchmarks.acceptance --spread 1.1
    python -m benchmarks.acceptance --spread 2.3 --rows 150
    python -m benchmarks.acceptance --pool 200

A prompt's utility is a sum over 16 places; an edit draws one of the parts anew. A row is right
where utility, the row's difficulty and luck add up to more than 0. Every edit draws the luck anew
in part, so that 14 % of the rows change sides between two prompts of equal utility, as 15 to 20 %
did in the authors' logs. A step scores three edits of the next place and the rule decides, by the
search's own code. Dev elects among the ten best and the initial prompt. Gains are in points of true
accuracy. A screen of correlation r chooses the three of twelve edits by a signal that has this
correlation with their utility. With a pool, every step draws its rows from it and scores the
incumbent on them again; what is then elected from are the incumbents that stood longest, which are
scored on the whole pool first. No model is run.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from benchmarks.workload import command
from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.greater.likelihood_ratio import Array
from prompt_optimization.optimizers.greater.noise import PairedNoise
from prompt_optimization.optimizers.greater.select import accepts

PLACES = 16
TRIED, PROPOSED = 3, 12
FLIPS = 0.14
# Variance of the luck beside a variance of 1 of the rows' difficulty, and how much of it stays.
LUCK = 0.5
STAYS = (math.cos(FLIPS * math.pi) * (1 + LUCK) - 1) / LUCK
DEV, FINALISTS = 100, 10
SCREENS = (0.0, 0.3, 0.6)

# Name of a rule, the rule, and its temperature in units of the noise; 0 where it begins at 1.
RULES = (
    ("always", "always", 0.0),
    ("improve", "improve", 0.0),
    ("anneal from 1", "anneal", 0.0),
    ("anneal_noise=0.25", "anneal", 0.25),
    ("anneal_noise=0.5", "anneal", 0.5),
    ("anneal_noise=1", "anneal", 1.0),
    ("anneal_noise=2", "anneal", 2.0),
)


def accuracy(utility: float) -> float:
    """True accuracy of a prompt."""
    return float(norm.cdf(utility / math.sqrt(1 + LUCK)))


def redrawn(luck: Array, rng: np.random.Generator) -> Array:
    """The luck of every row after an edit."""
    found: Array = STAYS * luck
    found = found + math.sqrt(LUCK * (1 - STAYS**2)) * rng.normal(size=len(luck))
    return found


class Search:
    """One simulated search; ``gain`` runs it."""

    def __init__(self, spread: float, rows: int, screen: float, seed: int, pool: int = 0) -> None:
        """
        Args:
            spread: standard deviation of an edit's true effect, as a share of the rows.
            rows: that a step sees, of ``pool`` or of no more than these.
            screen: correlation of the signal with the utility of an edit.
        """
        self.rng = np.random.default_rng(seed)
        self.draws = random.Random(seed)
        # Near an accuracy of one half; an edit is the difference of two parts.
        self.part = spread * math.sqrt(1 + LUCK) / float(norm.pdf(0)) / math.sqrt(2)
        self.screen = screen
        self.rows = rows
        self.difficulty = self.rng.normal(size=pool or rows)

    def gain(self, rule: str, units: float, steps: int) -> float:
        """Points of true accuracy that the elected prompt has more than the initial one."""
        rng = self.rng
        parts = rng.normal(0, self.part, PLACES)
        luck: Array = rng.normal(0, math.sqrt(LUCK), len(self.difficulty))
        initial = utility = float(parts.sum())
        wrong = self._wrong(utility, luck)
        board = [(wrong.mean(), utility)]
        stood: dict[float, tuple[int, int]] = {}  # by utility: how many steps, and the last
        noise = PairedNoise()
        for step in range(steps):
            place, seen = step % PLACES, self._seen()
            stood[utility] = (stood.get(utility, (0, step))[0] + 1, step)
            made = self._proposed()
            tried = []
            for part in made:
                edited = utility - parts[place] + part
                again = redrawn(luck, rng)
                outcome = self._wrong(edited, again)
                tried.append((float(outcome[seen].mean()), edited, part, again, outcome))
                if units:
                    noise.add((outcome - wrong)[seen].tolist(), [1.0] * self.rows)
            board += [each[:2] for each in tried]
            best = min(tried, key=lambda each: each[0])
            delta = best[0] - float(wrong[seen].mean())
            hottest = units * noise.standard_error if units else 1.0
            if accepts(rule, delta, step, steps, self.draws, hottest):
                _, utility, parts[place], luck, wrong = best
        if self.rows < len(self.difficulty):
            longest = sorted(stood, key=stood.__getitem__, reverse=True)
            finalists = [initial, *list(dict.fromkeys([utility, *longest]))[:FINALISTS]]
        else:
            best_ones = sorted(board, key=lambda entry: entry[0])[:FINALISTS]
            finalists = [initial, *(found for _, found in best_ones)]
        return 100 * (accuracy(self._elected(finalists)) - accuracy(initial))

    def _seen(self) -> list[int]:
        """The rows of a step. Drawn for each by itself, which is near enough to rounds."""
        if self.rows == len(self.difficulty):
            return list(range(self.rows))
        drawn: list[int] = self.rng.choice(len(self.difficulty), self.rows, replace=False).tolist()
        return drawn

    def _proposed(self) -> list[float]:
        parts = self.rng.normal(0, self.part, PROPOSED)
        told = self.screen * parts + math.sqrt(1 - self.screen**2) * self.rng.normal(
            0, self.part, PROPOSED
        )
        return [float(parts[i]) for i in np.argsort(-told)[:TRIED]]

    def _wrong(self, utility: float, luck: Array) -> Array:
        wrong: Array = (utility + self.difficulty + luck <= 0).astype(float)
        return wrong

    def _elected(self, utilities: list[float]) -> float:
        difficulty = self.rng.normal(size=DEV)
        luck = self.rng.normal(0, math.sqrt(LUCK), (len(utilities), DEV))
        right = (np.array(utilities)[:, None] + difficulty + luck > 0).mean(1)
        return utilities[int(right.argmax())]


def main() -> int:
    made = argparse.ArgumentParser(description="Gains of rules of acceptance, simulated.")
    made.add_argument("--spread", type=float, default=1.1, help="of an edit's effect, in points")
    made.add_argument("--rows", type=int, default=50, help="training rows")
    made.add_argument("--evaluations", type=int, default=15_750)
    made.add_argument("--searches", type=int, default=60)
    made.add_argument("--pool", type=int, default=0, help="rows that those of a step come from")
    given = made.parse_args()
    if given.pool and given.pool <= given.rows:
        raise InputError(f"a --pool of {given.pool} rows holds no others than --rows {given.rows}")
    steps = given.evaluations // (TRIED * given.rows)
    if given.pool:  # the initial prompt, the finalists, and the incumbent in every step
        left = given.evaluations - (1 + FINALISTS) * given.pool
        steps = left // ((1 + TRIED) * given.rows)
    table = Table("rule", *(f"screen r = {screen:g}" for screen in SCREENS))
    for name, rule, units in RULES:
        cells = []
        for screen in SCREENS:
            gains = [
                Search(given.spread / 100, given.rows, screen, seed, given.pool).gain(
                    rule, units, steps
                )
                for seed in range(given.searches)
            ]
            error = statistics.stdev(gains) / math.sqrt(len(gains))
            cells.append(f"{statistics.mean(gains):+.1f} ±{error:.1f}")
        table.add_row(name, *cells)
    Console(highlight=False).print(
        f"Points gained, mean of {given.searches} searches ± standard error; edits of "
        f"{given.spread:g} points, {given.rows} rows"
        + (f" of {given.pool}" if given.pool else "")
        + f", {steps} steps"
    )
    Console(highlight=False).print(table)
    return 0


if __name__ == "__main__":
    command(main)
