"""Reasonings read again after other prompts: how likely they are there, and what answer follows.

Nothing is decoded. What stands before a reasoning is read once for each prompt and example, and all
reasonings of the example continue from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prompt_optimization.models.answers import score_answers
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import (
    LOGITS_BLOCK,
    LanguageModel,
    at_least_float32,
    pad_right,
)
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.pools import rows_begun

# What stands for "the reasoning ends here" among ids.
END = -1


@dataclass(frozen=True)
class Reread:
    """One reasoning after one prompt.

    Attributes:
        log_probs: log-probability of each of its tokens in nats, at the temperature that drew them,
            and of its end where it ended by itself.
        loss, mistake: of the answer after it, as in ``Outcome``; 0 and False where not asked for.
    """

    log_probs: tuple[float, ...]
    loss: float = 0.0
    mistake: bool = False

    @property
    def log_prob(self) -> float:
        """Of the reasoning as a whole, in nats."""
        return sum(self.log_probs)


@dataclass(frozen=True)
class _Stem:
    """A prompt, an example by number, and the reasonings that are read after them."""

    prompt: Ids
    example: int
    reasonings: Sequence[Ids]


@torch.no_grad()
def reread(
    engine: Engine,
    examples: CachedExamples,
    asked: Sequence[tuple[int, Sequence[Ids]]],
    prompts: Sequence[Ids],
    decoding: Decoding,
    *,
    answers: bool = False,
) -> list[list[list[Reread]]]:
    """Read the reasonings of some examples after each of ``prompts``.

    Args:
        examples: the split; its cached prefix is used as far as all prompts share it.
        asked: examples by number, with the same number of reasonings each.
        prompts: prompts as ids.
        decoding: what drew the reasonings: its ``sampling`` has their temperature, and a reasoning
            that is shorter than its ``max_new_tokens`` ended by itself.
        answers: score the answers too.

    Returns:
        per asked example, prompt and reasoning what was read.

    Raises:
        FloatingPointError: a log-probability is not finite.
        InputError: the memory does not hold one row.
    """
    sampling = decoding.sampling
    assert sampling is not None and not sampling.top_k and sampling.top_p == 1
    draws = len(asked[0][1])
    assert draws and all(len(reasonings) == draws for _, reasonings in asked)
    shared = examples.prefix.share(prompts)
    # Rows of about the same length side by side, and what an example has cached taken once.
    pairs = sorted(
        ((p, a) for a in range(len(asked)) for p in range(len(prompts))),
        key=lambda pair: (-examples.fixed_tokens(asked[pair[1]][0]), pair[1], pair[0]),
    )

    def work(some: Sequence[tuple[int, int]]) -> list[list[Reread]]:
        stems = [_Stem(prompts[p], *asked[a]) for p, a in some]
        return _read_together(engine, examples, stems, shared, decoding, answers)

    # A budget of its own: a pair is several rows, and pools must not learn from it.
    budget = RowBudget(max(1, engine.budget.rows // draws))
    limit = None
    if examples.pool is not None:
        longest = max(len(own) for _, reasonings in asked for own in reasonings)
        rows = rows_begun(examples, max(map(len, prompts)), decoding, longest)
        limit = max(1, rows // draws)
    done = budget.map(pairs, work, limit)
    found = dict(zip(pairs, done, strict=True))
    return [[found[p, a] for p in range(len(prompts))] for a in range(len(asked))]


def _read_together(
    engine: Engine,
    examples: CachedExamples,
    stems: Sequence[_Stem],
    shared: int,
    decoding: Decoding,
    answers: bool,
) -> list[list[Reread]]:
    """The reasonings after each of ``stems``, whose prompts have ``shared`` ids in the cache."""
    model = engine.model
    assert decoding.sampling is not None
    temperature = decoding.sampling.temperature
    rest = [
        (*stem.prompt[shared:], *examples.following(stem.example, stem.prompt)) for stem in stems
    ]
    ids, valid = pad_right(rest, model.filler, model.device)
    kv = examples.prefix.select([stem.example for stem in stems], ids.shape[1])
    first, _ = model.read(kv, ids, valid=valid)

    rows = [(number, own) for number, stem in enumerate(stems) for own in stem.reasonings]
    of_stem = [number for number, _ in rows]
    read = [own for _, own in rows]
    spare = max(map(len, read)) + 1
    kv = model.packed(kv.select(of_stem, spare), spare)
    # What follows each column, the columns beginning with the last one of the stem.
    follow = [(*own, *([END] if len(own) < decoding.max_new_tokens else ())) for own in read]
    wanted = torch.tensor([following[0] for following in follow], device=model.device)
    log_probs = [
        [start] for start in _log_probs(model, first[of_stem], wanted, temperature).tolist()
    ]
    for row, more in enumerate(_later_log_probs(model, kv, read, follow, temperature)):
        log_probs[row] += more

    loss, mistake = [0.0] * len(rows), [False] * len(rows)
    if answers:
        pool = [(number, stems[number].example) for number in of_stem]
        ending = [examples.ending(stems[number].example, own) for number, own in rows]
        loss, mistake, _ = score_answers(model, examples, pool, model.packed(kv), ending, decoding)
    made = map(Reread, map(tuple, log_probs), loss, mistake)
    return [[next(made) for _ in stem.reasonings] for stem in stems]


def _later_log_probs(
    model: LanguageModel,
    kv: KVRows,
    read: Sequence[Ids],
    follow: Sequence[Sequence[int]],
    temperature: float,
) -> list[list[float]]:
    """Log-probabilities of ``follow`` but for the first of each row; ``kv`` grows by ``read``."""
    found: list[list[float]] = [[] for _ in read]
    if not any(read):
        return found
    ids, valid = pad_right(read, model.filler, model.device)
    model.counts["prefilled"] += int(valid.sum())
    # In blocks of columns, because the logits over a large vocabulary are larger than all else.
    step = max(1, LOGITS_BLOCK // (len(read) * model.vocabulary))
    for start in range(0, ids.shape[1], step):
        stop = min(start + step, ids.shape[1])
        places = [
            (row, column)
            for row, following in enumerate(follow)
            for column in range(start, min(stop, len(following) - 1))
        ]
        # A place is needed to call the model at all.
        where = torch.tensor(places or [(0, start)], device=model.device).unbind(1)
        logits = model.extend(
            kv, ids[:, start:stop], (where[0], where[1] - start), valid[:, start:stop]
        )
        if not places:
            continue
        wanted = torch.tensor([follow[r][c + 1] for r, c in places], device=model.device)
        values = _log_probs(model, logits, wanted, temperature).tolist()
        for (row, _), value in zip(places, values, strict=True):
            found[row].append(value)
    return found


def _log_probs(
    model: LanguageModel, logits: torch.Tensor, wanted: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Log-probability of ``wanted`` [n] under ``logits`` [n, vocabulary] over ``temperature``; that
    of ``END`` is of any token that ends the turn."""
    shares = (at_least_float32(logits) / temperature).log_softmax(-1)
    found = shares.gather(1, wanted.clamp(min=0)[:, None])[:, 0]
    if model.stop_ids:
        stops = torch.tensor(sorted(model.stop_ids), device=logits.device)
        found = torch.where(wanted == END, shares[:, stops].logsumexp(-1), found)
    if not bool(torch.isfinite(found).all()):
        raise FloatingPointError("a reasoning's log-probability is not finite")
    return found
