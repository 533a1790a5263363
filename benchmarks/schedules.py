"""One optimisation step, by the order of work of the published code and by the engine's.

The published schedule is written plainly, as what it costs: the incumbent's reasoning generated
anew, proposals sample by sample over the whole text, the gradient over the whole text with
trainable weights, every candidate generated in batches of nine until the longest row ends, and
one more pass over the whole text to score each answer. Its garbage collections are optional.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from benchmarks.workload import PeakMemory, Work, synchronise
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.language_model import LanguageModel, pad_left
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.optimizers.greater.differentiate import LossWeights, token_gradients
from prompt_optimization.optimizers.greater.propose import top_tokens
from prompt_optimization.optimizers.greater.select import choose

BATCH = 9  # rows per generation in the published code
TOPK = 11
WEIGHTS = LossWeights()
PHASES = ("incumbent", "propose", "differentiate", "candidates", "score")


@dataclass
class Measured:
    """One step: seconds and counts per phase, peak memory in GiB, and what came out of it."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    tokens: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    reasonings: list[list[Ids]] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    gradient: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    peak: float = 0.0

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def choice(self) -> int:
        return choose([statistics.mean(losses) for losses in self.losses], "first")

    @contextmanager
    def phase(self, name: str, device: torch.device) -> Iterator[Counter[str]]:
        start = time.perf_counter()
        yield self.tokens[name]
        synchronise(device)
        self.seconds[name] += time.perf_counter() - start


class PublishedSchedule:
    """The released code's order of work."""

    def __init__(
        self, model: LanguageModel, samples: CachedExamples, collect: bool = False
    ) -> None:
        """
        Args:
            collect: collect garbage after every pass over a sample or batch; the released code
                does so 45 to 207 times a step.
        """
        self.model = model
        self.samples = samples
        self.net = model.model
        self.clean: Callable[[], object] = gc.collect if collect else lambda: None

    def step(self, work: Work) -> Measured:
        measured, device = Measured(), self.model.device
        memory = PeakMemory(device)
        everyone = range(len(self.samples))
        with measured.phase("incumbent", device) as tokens:
            reasonings = self._generate(work.prompt, work.new_tokens, tokens)
        with measured.phase("propose", device) as tokens:
            for sample in everyone:
                ids = self._whole(sample, work.prompt, reasonings[sample])
                self._forward(ids, tokens).log_softmax(-1)
        with measured.phase("differentiate", device) as tokens:
            self.net.requires_grad_(True)
            measured.gradient = torch.stack(
                [self._gradient(s, work, reasonings[s], tokens) for s in everyone]
            )
            self.net.requires_grad_(False)
        for candidate in work.candidates:
            with measured.phase("candidates", device) as tokens:
                measured.reasonings.append(self._generate(candidate, work.new_tokens, tokens))
            with measured.phase("score", device) as tokens:
                measured.losses.append(
                    [self._loss(s, candidate, measured.reasonings[-1][s], tokens) for s in everyone]
                )
        measured.peak = memory.gib()
        return measured

    def _whole(self, sample: int, prompt: Ids, reasoning: Ids) -> list[int]:
        target = self.samples.targets[sample]
        return [
            *self.samples.questions[sample],
            *prompt,
            *self.samples.suffix,
            *reasoning,
            *target.extractor,
            *target.answer,
        ]

    def _forward(self, ids: Sequence[int], tokens: Counter[str]) -> torch.Tensor:
        tokens["prefilled"] += len(ids)
        tokens["rows"] += 1
        with torch.no_grad():
            output = self.net(torch.tensor([list(ids)], device=self.model.device), use_cache=False)
        logits: torch.Tensor = output.logits[0].float()
        self.clean()
        return logits

    @torch.no_grad()
    def _generate(self, prompt: Ids, new_tokens: int, tokens: Counter[str]) -> list[Ids]:
        contexts = [[*q, *prompt, *self.samples.suffix] for q in self.samples.questions]
        reasonings: list[Ids] = []
        for start in range(0, len(contexts), BATCH):
            ids, mask = pad_left(
                contexts[start : start + BATCH], self.model.filler, self.model.device
            )
            stops = sorted(self.model.stop_ids)
            output = self.net.generate(
                ids,
                attention_mask=mask.long(),
                max_new_tokens=new_tokens,
                do_sample=False,
                eos_token_id=stops or None,
                pad_token_id=self.model.filler,
            )[:, ids.shape[1] :]
            tokens["prefilled"] += int(mask.sum())
            tokens["decoded"] += output.numel()
            tokens["rows"] += len(output)
            self.clean()
            for row in output.tolist():
                end = next((i for i, t in enumerate(row) if t in self.model.stop_ids), len(row))
                reasonings.append(tuple(row[:end]))
        return reasonings

    def _gradient(
        self, sample: int, work: Work, reasoning: Ids, tokens: Counter[str]
    ) -> torch.Tensor:
        ids = torch.tensor(self._whole(sample, work.prompt, reasoning), device=self.model.device)
        tokens["differentiated"] += len(ids)
        tokens["rows"] += 1
        question = len(self.samples.questions[sample])
        answer = len(self.samples.targets[sample].answer)
        place = question + work.position
        one_hot = torch.zeros(1, len(work.tokens), device=self.model.device)
        embedding = self.net.get_input_embeddings()
        vectors = embedding(ids).detach()
        one_hot.requires_grad_(True)
        choices = embedding(torch.tensor(work.tokens, device=self.model.device)).detach()
        here = vectors[place : place + 1] + one_hot.to(vectors.dtype) @ choices
        inputs = torch.cat([vectors[:place], here, vectors[place + 1 :]])
        logits = self.net(inputs_embeds=inputs[None], use_cache=False).logits[0].float()
        ce = torch.nn.functional.cross_entropy
        loss = WEIGHTS.answer * ce(
            logits[-answer - 1 : -1] / WEIGHTS.temperature, ids[-answer:]
        ) + WEIGHTS.nll * ce(
            logits[question - 1 : question - 1 + len(work.prompt)],
            ids[question : question + len(work.prompt)],
        )
        torch.autograd.backward(loss)
        self.net.zero_grad(set_to_none=True)
        self.clean()
        assert one_hot.grad is not None
        return one_hot.grad[0].float().cpu()

    def _loss(self, sample: int, prompt: Ids, reasoning: Ids, tokens: Counter[str]) -> float:
        ids = self._whole(sample, prompt, reasoning)
        answer = len(self.samples.targets[sample].answer)
        logits = self._forward(ids, tokens)
        right = torch.tensor(ids[-answer:], device=logits.device)
        loss = torch.nn.functional.cross_entropy(logits[-answer - 1 : -1], right)
        question = len(self.samples.questions[sample])
        torch.nn.functional.cross_entropy(  # the prompt's part of the objective
            logits[question - 1 : question - 1 + len(prompt)], torch.tensor(prompt).to(right)
        )
        return float(loss)


class EngineSchedule:
    """The same step by this project's engine, the incumbent known from the step before."""

    def __init__(
        self, model: LanguageModel, samples: CachedExamples, rows: int, gradient_rows: int
    ) -> None:
        self.model = model
        self.samples = samples
        self.engine = Engine(model, rows)
        self.gradient_budget = RowBudget(gradient_rows)
        self.reasonings: list[Ids] = []

    def prepare(self, work: Work) -> None:
        """What the step before has left: the incumbent's reasoning and the prefix."""
        (outcomes,) = self.engine.run(self.samples, [work.prompt], Decoding(work.new_tokens))
        self.reasonings = [outcome.reasoning for outcome in outcomes]
        if work.position:
            self.samples.prefix.reach(work.prompt[: work.position - 1])

    def step(self, work: Work) -> Measured:
        measured, device = Measured(), self.model.device
        memory = PeakMemory(device)
        banned = torch.zeros(self.model.vocabulary, dtype=torch.bool)
        with self._counted(measured, "propose", 1):
            self.samples.prefix.reach(work.prompt[: work.position])
            top_tokens(self.samples.prefix.log_probs, banned, TOPK)
        with self._counted(measured, "differentiate", 1):
            measured.gradient = token_gradients(
                self.model,
                self.samples,
                range(len(self.samples)),
                work.prompt,
                work.position,
                work.tokens,
                self.reasonings,
                WEIGHTS,
                self.gradient_budget,
            )
        # Reasoning and scoring share the rows' cache; they are one phase here.
        with self._counted(measured, "candidates", len(work.tokens)):
            outcomes = self.engine.run(self.samples, work.candidates, Decoding(work.new_tokens))
        measured.reasonings = [[outcome.reasoning for outcome in row] for row in outcomes]
        measured.losses = [[outcome.loss for outcome in row] for row in outcomes]
        prefix = self.samples.prefix.kv
        kept = prefix.rows * prefix.columns * prefix.column_bytes.total() / 2**30
        measured.peak = memory.gib() + kept
        return measured

    @contextmanager
    def _counted(self, measured: Measured, name: str, prompts: int) -> Iterator[None]:
        before = Counter(self.model.counts)
        with measured.phase(name, self.model.device) as tokens:
            yield
        tokens.update(Counter(self.model.counts) - before)
        tokens["rows"] += len(self.samples) * prompts
