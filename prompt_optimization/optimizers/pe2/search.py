"""PE2 (Ye et al., Findings of ACL 2024): examine wrong answers, rewrite the prompt, backtrack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from prompt_optimization.optimizers.base import Step, Tools
from prompt_optimization.optimizers.pe2.settings import Pe2Settings
from prompt_optimization.optimizers.text.failures import described, failures
from prompt_optimization.optimizers.text.optimizer import Proposal, TextOptimizer
from prompt_optimization.scoring.scorer import Scored, Scorer, Transcript

# What stands for a question where the writer is shown what the model reads.
QUESTION = "<question>"


@dataclass(frozen=True)
class Node:
    """A prompt that was scored on all rows.

    Attributes:
        order: as ``Scored.order``.
        score: as ``TextOptimizer.goodness``.
        step: that found it.
        parent: the prompt that it is a change of; empty for none.
        change: from its parent, in words; empty where nobody asked.
    """

    text: str
    order: tuple[float, float]
    score: float
    step: int
    parent: str = ""
    change: str = ""


@dataclass(frozen=True)
class Batch:
    """A prompt, some of its wrong answers in words, and what the writer made of them."""

    node: Node
    examples: str
    analysis: str = ""


class Pe2(TextOptimizer):
    """A step chooses the best prompts so far, has some wrong answers of each examined several
    times, and has the prompt rewritten after each examination. All new prompts are scored.

    Attributes:
        nodes: every prompt that was scored, in order.
        rows: examples in the order in which they are searched for wrong answers.
    """

    settings: Pe2Settings

    def __init__(self, settings: Pe2Settings, scorer: Scorer, tools: Tools) -> None:
        super().__init__(settings, scorer, tools)
        self.nodes: dict[str, Node] = {}
        self.rows = list(range(len(scorer.examples)))

    def start(self, prompt: str) -> Scored:
        scored = super().start(prompt)
        self._join(scored, -1)
        if self.settings.chunk:
            self.tools.rng.shuffle(self.rows)
        return scored

    def _step(self) -> Step | None:
        if self.made_rounds == self.settings.rounds:
            return None
        if self.settings.stop_when_right and any(node.score == 1 for node in self.nodes.values()):
            return None
        chosen = self._choose()
        if not chosen:
            return None
        batches = self._analyse(self._draw(chosen))
        proposals = self._rewrite(batches)
        changes = self._summarise(proposals)
        scores = self.score([proposal.text for proposal in proposals])
        for scored, proposal, change in zip(scores, proposals, changes, strict=True):
            (parent,) = proposal.parents
            self._join(scored, self.steps, parent, change)
        expanded = [node.text for node in chosen]
        return self.made(proposals, scores, self.accept(scores), expanded=expanded)

    def _choose(self) -> dict[Node, list[Transcript]]:
        """The best prompts that got something wrong, and what. A prompt without a mistake gives
        the writer nothing to examine, so that the next best one takes its place."""
        nodes = list(self.nodes.values())
        if not self.settings.backtrack:
            latest = max(node.step for node in nodes)
            nodes = [node for node in nodes if node.step == latest]
        chosen: dict[Node, list[Transcript]] = {}
        for node in sorted(nodes, key=lambda node: node.order):
            if len(chosen) == self.settings.beam:
                break
            if wrong := self._wrong(node.text):
                chosen[node] = wrong
        return chosen

    def _wrong(self, prompt: str) -> list[Transcript]:
        """What ``prompt`` got wrong; with ``chunk`` only as much as the requests need."""
        settings, found = self.settings, []
        size = settings.chunk or len(self.rows)
        for start in range(0, len(self.rows), size):
            found += failures(self.scorer.transcripts(prompt, self.rows[start : start + size]))
            if len(found) >= settings.batch * max(settings.expand, 2) / 2:
                break
        return found

    def _draw(self, chosen: dict[Node, list[Transcript]]) -> list[Batch]:
        """Wrong answers by chance, for every new prompt that is to be made of a chosen one."""
        found = []
        for node, wrong in chosen.items():
            count = min(self.settings.batch, len(wrong))
            for _ in range(self.settings.expand):
                drawn = sorted(self.tools.rng.sample(range(len(wrong)), count))
                examples = "\n\n".join(described(wrong[i]) for i in drawn)
                found.append(Batch(node, examples))
        return found

    def _analyse(self, batches: Sequence[Batch]) -> list[Batch]:
        """The first wave: what went wrong, example by example?"""
        requests = [
            self.request(
                self.metaprompts["analyse"].fill(
                    prompt=batch.node.text.strip(),
                    template=self.shown(QUESTION, batch.node.text),
                    examples=batch.examples,
                ),
                temperature=0.5,
                max_tokens=1500,
            )
            for batch in batches
        ]
        found = [
            replace(batch, analysis=analysis)
            for batch, (analysis,) in zip(batches, self.write(requests), strict=True)
            if analysis
        ]
        self.drop("empty", len(batches) - len(found))
        return found

    def _rewrite(self, batches: Sequence[Batch]) -> list[Proposal]:
        """The second wave: a prompt that follows the analysis."""
        return self.propose(
            [
                self.ask(
                    "rewrite",
                    (batch.node.text,),
                    {
                        "prompt": batch.node.text.strip(),
                        "template": self.shown(QUESTION, batch.node.text),
                        "examples": batch.examples,
                        "analysis": batch.analysis,
                        "history": self._history(batch.node),
                        "length": f"at most {self.settings.max_words} words",
                    },
                    temperature=0.7,
                    max_tokens=300,
                )
                for batch in batches
            ]
        )

    def _summarise(self, proposals: Sequence[Proposal]) -> list[str]:
        """The third wave, for the history that later steps show: what was changed?"""
        if not self.settings.history or self.made_rounds == self.settings.rounds - 1:
            return [""] * len(proposals)
        requests = [
            self.request(
                self.metaprompts["summarise"].fill(
                    before=proposal.parents[0].strip(), after=proposal.text.strip()
                ),
                temperature=0.7,
                max_tokens=200,
            )
            for proposal in proposals
        ]
        return [summary for (summary,) in self.write(requests)]

    def _history(self, node: Node) -> str:
        """The prompt and its earlier versions, the oldest first."""
        if not self.settings.history:
            return ""
        line = [node]
        while line[0].parent and len(line) <= self.settings.history:
            line.insert(0, self.nodes[line[0].parent])
        versions = []
        for each in line:
            change = f"\nChange: {each.change}" if each.change else ""
            score = round(100 * each.score)
            versions.append(f"Instruction: {each.text.strip()}{change}\nScore: {score} of 100")
        heading = "\n\nHow the instruction came about, the oldest version first:"
        return "\n\n".join([heading, *versions])

    def _join(self, scored: Scored, step: int, parent: str = "", change: str = "") -> None:
        score = self.goodness(scored)
        self.nodes[scored.text] = Node(scored.text, scored.order, score, step, parent, change)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "nodes": [asdict(node) for node in self.nodes.values()],
            "rows": list(self.rows),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.rows = list(state["rows"])
        nodes = [Node(**{**node, "order": tuple(node["order"])}) for node in state["nodes"]]
        self.nodes = {node.text: node for node in nodes}

    def carry_over(self, state: dict[str, Any]) -> None:
        """As ``TextOptimizer.carry_over``. The rounds begin anew with the best prompts."""
        super().carry_over(state)
        for entry in self.leaderboard.entries:
            self._join(entry.scored, entry.step)


OPTIMIZER = Pe2
