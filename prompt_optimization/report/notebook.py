"""What a search found, as a notebook shows it: verdict, prompt, changed words, objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from jinja2 import Environment

from prompt_optimization.report.verdict import verdict_of
from prompt_optimization.report.word_diff import word_diff
from prompt_optimization.scoring.held_out import HeldOut

# Of a call that optimised more prompts, the rest is counted.
SHOWN = 5
WIDTH, HEIGHT = 240, 48  # of a curve, in pixels

TEMPLATE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""
<div style="max-width: 60em; line-height: 1.5">
{% for each in shown %}
<p><b>{{ each.sentence }}</b></p>
<p style="white-space: pre-wrap; font-family: monospace; border-left: 3px solid #8888; \
padding-left: .7em">{{ each.after.text }}</p>
{% if each.changed %}
<p>Changed words: {% for kind, text in each.pieces %}
{% if kind == "gone" %}<del style="background: #f002">{{ text }}</del>
{%- elif kind == "new" %}<ins style="background: #0a03; text-decoration: none">{{ text }}</ins>
{%- else %}{{ text }}{% endif %}
{% endfor %}</p>
{% endif %}
{% if each.points %}
<p>Best objective, {{ each.first }} to {{ each.last }} in {{ each.rounds }} rounds<br>
<svg width="{{ width }}" height="{{ height }}" role="img"><polyline points="{{ each.points }}" \
fill="none" stroke="currentColor" stroke-width="1.5"/></svg></p>
{% endif %}
{% endfor %}
{% if not shown %}<p>No prompt was evaluated.</p>{% endif %}
{% if more %}<p>and {{ more }} more searches</p>{% endif %}
</div>
""")


class Prompt(Protocol):
    """A prompt as it is pasted, of one of the searches; ``test``: what it is worth on test rows."""

    @property
    def text(self) -> str: ...
    @property
    def group(self) -> int: ...
    @property
    def objective(self) -> float: ...
    @property
    def test(self) -> HeldOut | None: ...


class Round(Protocol):
    """The best objective after a round of one of the searches."""

    @property
    def group(self) -> int: ...
    @property
    def best(self) -> float: ...


@dataclass(frozen=True)
class Search:
    """One search: where it began, what it found, and the best objective from start to end."""

    before: Prompt
    after: Prompt
    objectives: tuple[float, ...]

    @property
    def changed(self) -> bool:
        return self.before.text != self.after.text

    @property
    def pieces(self) -> list[tuple[str, str]]:
        """The words of both prompts, those that are gone and those that are new."""
        return [(piece.kind, piece.text) for piece in word_diff(self.before.text, self.after.text)]

    @property
    def sentence(self) -> str:
        """Whether the found prompt is better."""
        before, after = self.before.test, self.after.test
        if before is None or after is None:
            return "Not measured: no test rows were given, so nobody knows whether it is better."
        test = {
            "initial": before.record(),
            "best": after.record(),
            "difference": {after.metric: asdict(after.minus(before))},
        }
        return verdict_of({"evaluation": {"test": test}}).sentence

    @property
    def rounds(self) -> int:
        return len(self.objectives) - 1

    @property
    def first(self) -> str:
        return f"{self.objectives[0]:.3f}"

    @property
    def last(self) -> str:
        return f"{self.objectives[-1]:.3f}"

    @property
    def points(self) -> str:
        """The curve of the objectives; empty where nothing changed."""
        low, high = min(self.objectives), max(self.objectives)
        if low == high:
            return ""
        across, down = WIDTH / self.rounds, (HEIGHT - 4) / (high - low)
        return " ".join(
            f"{index * across:.1f},{2 + (high - value) * down:.1f}"
            for index, value in enumerate(self.objectives)
        )


def notebook_html(
    initial: Sequence[Prompt], found: Sequence[Prompt], rounds: Sequence[Round]
) -> str:
    """A fragment of HTML; what models and users wrote is text in it.

    Args:
        initial: the initial prompt of every search.
        found: of all searches, best first within each.
    """
    searches = []
    for start in initial:
        best = next(each for each in found if each.group == start.group)
        curve = (each.best for each in rounds if each.group == start.group)
        searches.append(Search(start, best, (start.objective, *curve)))
    shown, more = searches[:SHOWN], len(searches[SHOWN:])
    return TEMPLATE.render(shown=shown, more=more, width=WIDTH, height=HEIGHT)
