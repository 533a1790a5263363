"""Candidates: edits of a prompt at one position, from one token to the whole of it.

The model itself writes what is put in: a token that several questions propose together, as in
GReaTer, or several tokens drawn after a question and the words before the position.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.decode import Choice, decode
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.optimizers.greater.edits import WIDENING
from prompt_optimization.optimizers.greater.propose import banned_ids, propose
from prompt_optimization.optimizers.greater.settings import GreaterSettings
from prompt_optimization.tasks.texts import read_lines

KINDS = ("token", "span", "clause", "prompt")
SPAN = (2, 4)
CLAUSE = 12
# Rounds of writing before too few different edits are taken as all that there are.
ROUNDS = 20


@dataclass(frozen=True)
class Candidate:
    """A prompt, and the words that were put in; those of the incumbent are what it has there."""

    text: str
    words: str
    ids: Ids
    log_prob: float | None = None


def candidates(
    samples: CachedExamples,
    prompt: str,
    kind: str,
    position: int,
    count: int,
    seed: int,
    prompts: Path | None = None,
) -> list[Candidate]:
    """The incumbent and at most ``count`` edits of it.

    Args:
        kind: ``token``: another token at ``position``; ``span``: two to four tokens in place of as
            many; ``clause``: up to 12 tokens in place of the rest of the clause; ``prompt``:
            whole prompts, drawn from those in ``prompts``.
        position: of the first token that is replaced.

    Raises:
        InputError: the position is outside the prompt, or fewer than two edits can be made.
    """
    ids = samples.prompt_ids(prompt)
    if not 0 <= position < len(ids):
        raise InputError(
            f"--position {position} is outside the prompt '{prompt.strip()}', which has "
            f"{len(ids)} tokens; give one from 0 to {len(ids) - 1}"
        )
    rng = random.Random(seed)
    if kind == "prompt":
        assert prompts is not None
        made = _given(samples, prompts, count, rng)
        words, log_prob = prompt, None
    else:
        samples.prefix.reach(ids[:position])
        samples.proposing.reach(samples.paper_ids(ids[:position]))
        banned = banned_ids(
            samples.model.tokenizer, samples.model.vocabulary, allow_non_ascii=False
        )
        if kind == "token":
            end = position + 1
            made = _tokens(samples, ids, position, count, rng, banned)
            log_prob = float(_log_probs(samples).mean(0)[ids[position]])
        elif kind == "span":
            end = min(position + rng.randint(*SPAN), len(ids))
            made = _written(samples, ids, position, end, SPAN, count, rng, banned)
            log_prob = None
        else:
            end = _clause_end(samples, ids, position)
            made = _written(samples, ids, position, end, (CLAUSE, CLAUSE), count, rng, banned)
            log_prob = None
        words = samples.model.tokenizer.decode(list(ids[position:end]))
    made = [each for each in made if each.text != prompt][:count]
    if len(made) < 2:
        raise InputError(
            f"at position {position} of '{prompt.strip()}' only {len(made)} edits can be made, and "
            "a correlation takes two; choose another position or prompt"
        )
    return [Candidate(prompt, words, ids, log_prob), *made]


def _log_probs(samples: CachedExamples) -> torch.Tensor:
    cache = samples.proposing
    return cache.log_probs[cache.row_of]


def _given(samples: CachedExamples, path: Path, count: int, rng: random.Random) -> list[Candidate]:
    """Some of the prompts in a file, and one more in case the incumbent is among them."""
    lines = read_lines(path, "--prompts")
    texts = list(dict.fromkeys(samples.layout.normalise(line) for line in lines))
    drawn = rng.sample(texts, min(count + 1, len(texts)))
    return [Candidate(text, text, samples.prompt_ids(text)) for text in drawn]


def _tokens(
    samples: CachedExamples,
    ids: Ids,
    position: int,
    count: int,
    rng: random.Random,
    banned: torch.Tensor,
) -> list[Candidate]:
    banned = banned.clone()
    banned[ids[position]] = True
    log_probs = _log_probs(samples)

    def edited(tokens: Sequence[int]) -> list[Ids]:
        return [(*ids[:position], token, *ids[position + 1 :]) for token in tokens]

    def keep(tokens: Sequence[int]) -> list[int]:
        texts = samples.roundtrip_text(edited(tokens))
        return [token for token, text in zip(tokens, texts, strict=True) if text is not None]

    s = GreaterSettings.default()
    found = propose(
        [log_probs],
        banned,
        rng,
        topk=s.topk,
        topq=s.topq,
        group_size=s.group_size,
        minimum=max(count, s.min_proposals),
        widening=WIDENING,
        keep=keep,
    )
    tokens = found.tokens[:count]
    mean = log_probs.mean(0)
    return [
        Candidate(text, samples.model.tokenizer.decode([token]), prompt, float(mean[token]))
        for token, prompt, text in zip(
            tokens, edited(tokens), samples.roundtrip_text(edited(tokens)), strict=True
        )
        if text is not None
    ]


def _clause_end(samples: CachedExamples, ids: Ids, position: int) -> int:
    """The first place after the clause that ``position`` stands in, without its mark."""
    for place in range(position, len(ids)):
        if _ends_clause(samples, ids[place]) and place > position:
            return place
    return len(ids)


def _ends_clause(samples: CachedExamples, token: int) -> bool:
    return any(mark in samples.model.tokenizer.decode([token]) for mark in ".,;:?!\n")


def _written(
    samples: CachedExamples,
    ids: Ids,
    position: int,
    end: int,
    lengths: tuple[int, int],
    count: int,
    rng: random.Random,
    banned: torch.Tensor,
) -> list[Candidate]:
    """What the model draws after the questions and the words before ``position``, each written
    once, in place of the tokens up to ``end``."""
    questions = [example.question for example in samples.examples]
    tokenizer = samples.model.tokenizer
    found: dict[str, Candidate] = {}
    for _ in range(ROUNDS):
        limit = rng.randint(*lengths)
        cache = samples.proposing
        kv = cache.select(range(len(samples)), limit)
        drawing = Sampling(1.0, seed=rng.getrandbits(31)).choice(questions, samples.model.device)
        choice = _Without(drawing, banned.to(samples.model.device))
        written = decode(samples.model, kv, _log_probs(samples), limit, choice)
        for words in dict.fromkeys(written):
            stop = next((i for i, token in enumerate(words) if _ends_clause(samples, token)), None)
            words = words[:stop]
            if not words:
                continue
            prompt = (*ids[:position], *words, *ids[end:])
            (text,) = samples.roundtrip_text([prompt])
            if text is not None:
                found.setdefault(text, Candidate(text, tokenizer.decode(list(words)), prompt))
            if len(found) > count:
                return list(found.values())
    return list(found.values())


@dataclass(frozen=True, eq=False)
class _Without:
    """``choice`` among the tokens that are not ``banned``."""

    choice: Choice
    banned: torch.Tensor

    @property
    def keys(self) -> torch.Tensor:
        return self.choice.keys

    @property
    def way(self) -> Hashable:
        return self  # steps of other choices do other work

    def __call__(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        return self.choice(self._left(logits), rows, step)

    def at_once(
        self, logits: torch.Tensor, keys: torch.Tensor, step: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.choice.at_once(self._left(logits), keys, step)

    def _left(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.masked_fill(self.banned, -torch.inf)
