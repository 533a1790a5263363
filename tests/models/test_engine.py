"""The engine equals the plain path, whatever is pooled, padded, cached or short of memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.models import memory, pools
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.language_model import LanguageModel, pad_left
from prompt_optimization.models.memory import PoolSize, RowBudget
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.tasks.templates import END
from tests import plain
from tests.conftest import AROUND, DEVICE, PLACES, SOLVED

PROMPTS = (
    " proper logical reasoning and think step by step.",
    " proper logical thought and think step by step.",
    " proper logical apples and think step by step.",
    " careful thought, count each one.",
    " think.",
)


def prompts_of(samples: CachedExamples, texts: tuple[str, ...] = PROMPTS) -> list[tuple[int, ...]]:
    return [samples.prompt_ids(text) for text in texts]


def check_against_plain(
    engine: Engine, samples: CachedExamples, prompts: Any, decoding: Decoding, indices: Any
) -> set[int]:
    lengths = set()
    outcomes = engine.run(samples, prompts, decoding, indices)
    for prompt, row in zip(prompts, outcomes, strict=True):
        for sample, outcome in zip(indices, row, strict=True):
            model = engine.model
            reasoning = plain.reason(model, samples, prompt, sample, decoding.max_new_tokens)
            assert outcome.reasoning == reasoning
            loss, mistake = plain.answer_loss(
                model, samples, prompt, sample, reasoning, decoding.temperature
            )
            assert outcome.loss == pytest.approx(loss, rel=1e-4, abs=1e-4)
            assert outcome.mistake == mistake
            assert outcome.nll == pytest.approx(
                plain.prompt_nll(model, samples, prompt, sample), rel=1e-4
            )
            lengths.add(len(reasoning))
    return lengths


def stop_at(model: LanguageModel, samples: CachedExamples, step: int) -> None:
    """Make a token that the model really writes end a row, so that rows end at different times."""
    prompt = samples.prompt_ids(PROMPTS[0])
    stops = [plain.reason(model, samples, prompt, s, step + 1)[-1] for s in range(2)]
    model.stop_ids = model.stop_ids | set(stops)


def watch(model: LanguageModel) -> list[tuple[torch.Size, torch.Size]]:
    """The shapes of ids and mask of every forward pass from now on."""
    passes: list[tuple[torch.Size, torch.Size]] = []
    forward = model.model.forward

    def watched(
        *args: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, **rest: Any
    ) -> Any:
        passes.append((input_ids.shape, attention_mask.shape))
        return forward(*args, input_ids=input_ids, attention_mask=attention_mask, **rest)

    model.model.forward = watched
    return passes


@pytest.mark.parametrize("place", PLACES)
def test_equals_the_plain_path(family: str, place: str, make_model: Any, make_samples: Any) -> None:
    model = make_model(family)
    samples = make_samples(model, template=place)
    stop_at(model, samples, 5)
    engine = Engine(model, max_rows=64)
    prompts = prompts_of(samples)
    lengths = check_against_plain(engine, samples, prompts, Decoding(14, temperature=0.7), range(6))
    assert len(lengths) > 1 and max(lengths) == 14, "rows should end early and at the limit"


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.integers(1, 9),
    chosen=st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=3, unique=True),
    indices=st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True),
    before=st.sampled_from(PROMPTS),
    place=st.sampled_from([END, "begin", AROUND, SOLVED]),
    reads=st.sampled_from([0.0, 0.5, 2.0, 16.0]),
)
def test_any_pool_any_order_after_any_prompt(
    make_model: Any,
    make_samples: Any,
    rows: int,
    chosen: list[str],
    indices: list[int],
    before: str,
    place: str,
    reads: float,
) -> None:
    model = make_model("llama-3")
    samples = make_samples(model, template=place)
    stop_at(model, samples, 3)
    engine = Engine(model, max_rows=rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pools.STEP_READS, DEVICE.type, reads)
        engine.run(samples, prompts_of(samples, (before,)), Decoding(2))  # leaves a prefix
        some = prompts_of(samples, tuple(chosen))
        check_against_plain(engine, samples, some, Decoding(6), indices)


def test_prompts_share_steps_where_the_filler_costs_less(
    make_model: Any, make_samples: Any, monkeypatch: Any
) -> None:
    model = make_model("llama-3")
    samples = make_samples(model)
    model.stop_ids = frozenset()
    long, short = sorted(prompts_of(samples)[-2:], key=len, reverse=True)
    filler = len(samples) * (len(long) - len(short))
    passes = watch(model)
    taken = {}
    for apart in (True, False):
        monkeypatch.setitem(pools.STEP_READS, DEVICE.type, (filler - apart) / 9)
        passes.clear()
        Engine(model, max_rows=64).run(samples, [long, short], Decoding(9))
        taken[apart] = sum(ids[1] == 1 for ids, _ in passes)
    assert taken[True] >= 2 * taken[False] > 0


@given(st.lists(st.integers(1, 600)), st.integers(1, 300), st.sampled_from(["cpu", "cuda", "meta"]))
def test_groups_hold_all_rows_in_their_order(lengths: list[int], limit: int, kind: str) -> None:
    lengths.sort(reverse=True)
    places = list(pools.groups(lengths, limit, torch.device(kind)))
    assert [row for start, stop in places for row in range(start, stop)] == [*range(len(lengths))]
    pays = pools.STEP_READS.get(kind, pools.STEP_READS["cpu"]) * limit
    for start, stop in places:
        for length in set(lengths[start:stop]):
            assert lengths[start:stop].count(length) * (lengths[start] - length) <= pays


def test_only_new_tokens_are_read(make_model: Any, make_samples: Any) -> None:
    model = make_model("llama-3")
    samples = make_samples(model)
    engine = Engine(model, 64)
    (prompt,) = prompts_of(samples, PROMPTS[:1])
    engine.run(samples, [prompt], Decoding(4))
    questions = sum(map(len, samples.before))
    targets = sum(len(t.extractor) + len(t.answer) for t in samples.targets)
    each = len(prompt) + len(samples.after[0])
    assert model.counts["prefilled"] <= questions + targets + 6 * (each + 1)

    # A candidate that differs at one place reads from there on, and no question again.
    model.counts.clear()
    position = 3
    other = (*prompt[:position], prompt[0], *prompt[position + 1 :])
    samples.prefix.reach(prompt[:position])
    engine.run(samples, [other], Decoding(4))
    assert model.counts["prefilled"] <= targets + 6 * (each + 2)


@pytest.mark.parametrize("decoding", [Decoding(6, answer_tokens=5), Decoding(1, answer_tokens=1)])
def test_free_answers_continue_the_extractor(
    family: str, make_model: Any, make_samples: Any, decoding: Decoding
) -> None:
    model = make_model(family)
    samples = make_samples(model)
    (prompt,) = prompts_of(samples, PROMPTS[:1])
    (outcomes,) = Engine(model, 64).run(samples, [prompt], decoding)
    # The limit leaves room for the longest reference answer and the token that ends it.
    limit = max(decoding.answer_tokens, 1 + max(len(target.answer) for target in samples.targets))
    for sample, outcome in enumerate(outcomes):
        ids = [*samples.before[sample], *prompt, *samples.following(sample, prompt)]
        ids += outcome.reasoning
        ids += samples.targets[sample].extractor
        start = len(ids)
        while len(ids) - start < limit:
            token = int(plain.logits(model, ids)[-1].argmax())
            if token in model.stop_ids:
                break
            ids.append(token)
        assert outcome.answer == model.tokenizer.decode(ids[start:], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("following", "ends"),
    [("<|end_of_text|>", True), (".", True), (" apples", True), ("0", False), (" or", False)],
)
def test_an_answer_must_end_where_the_reference_does(
    make_model: Any, make_samples: Any, following: str, ends: bool
) -> None:
    """The model's first choices are the answer's tokens, and then ``following``."""
    model = make_model("llama-3")
    samples = make_samples(model)
    sample = 1
    target = samples.targets[sample]
    *_, after = model.tokenizer.encode(following, add_special_tokens=False)
    follow = dict(zip((target.extractor[-1], *target.answer), (*target.answer, after), strict=True))
    extend = model.extend

    def scripted(kv: Any, new: torch.Tensor, where: Any, valid: Any = None) -> torch.Tensor:
        logits = extend(kv, new, where, valid)
        for row, token in enumerate(new[where].tolist()):
            if token in follow:
                logits[row, follow[token]] = logits[row].max() + 1
        return logits

    model.extend = scripted
    (prompt,) = prompts_of(samples, PROMPTS[:1])
    for must_end in (False, True):
        for indices in ([sample], [4, sample, 0]):
            decoding = Decoding(2, must_end=must_end)
            (outcomes,) = Engine(model, 64).run(samples, [prompt], decoding, indices)
            outcome = outcomes[indices.index(sample)]
            assert outcome.mistake == (must_end and not ends)
            (free,) = Engine(model, 64).run(samples, [prompt], Decoding(2), indices)
            assert [o.loss for o in outcomes] == pytest.approx([o.loss for o in free])


def test_memory_shortage_halves_the_pool_and_changes_nothing(
    make_model: Any, make_samples: Any
) -> None:
    model = make_model("llama-3")
    samples = make_samples(model)
    expected = Engine(model, 64).run(samples, prompts_of(samples), Decoding(6))

    whole = model.model

    def short(*, attention_mask: torch.Tensor, **rest: Any) -> Any:
        """Fails like a full device whenever more than eight rows come at once."""
        if len(attention_mask) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(attention_mask=attention_mask, **rest)

    samples = make_samples(model)
    model.model = short
    engine = Engine(model, 64)
    got = engine.run(samples, prompts_of(samples), Decoding(6))
    assert engine.budget.rows <= 8 and engine.budget.halvings > 0
    for row, other in zip(got, expected, strict=True):
        assert [o.reasoning for o in row] == [o.reasoning for o in other]
        assert [o.loss for o in row] == pytest.approx([o.loss for o in other], rel=1e-4)


def test_the_pool_fits_the_free_memory(
    make_model: Any, make_samples: Any, monkeypatch: Any
) -> None:
    model = make_model("llama-3")
    samples = make_samples(model)
    expected = Engine(model).run(samples, prompts_of(samples), Decoding(6))
    passes = watch(model)
    most = []
    for free in (10**12, 4 * 10**5, 1):
        monkeypatch.setattr(memory, "pool_bytes", lambda device, cached, free=free: free)
        samples.pool = None
        passes.clear()
        got = Engine(model).run(samples, prompts_of(samples), Decoding(6))
        cost = samples.prefix.kv.column_bytes.total()
        seen = [mask for _, mask in passes]
        most.append(max(rows for rows, _ in seen))
        assert all(rows == 1 or rows * columns * cost <= free for rows, columns in seen)
        assert [[o.reasoning for o in row] for row in got] == [
            [o.reasoning for o in row] for row in expected
        ]
    assert most[0] > most[1] > most[2] == 1


@pytest.mark.parametrize("sampling", [None, Sampling(1.0, seed=3)])
def test_rows_that_outgrow_the_memory_go_on_later(
    family: str, sampling: Sampling | None, make_model: Any, make_samples: Any
) -> None:
    model = make_model(family)
    samples = make_samples(model)
    stop_at(model, samples, 5)
    decoding = Decoding(14, sampling=sampling)
    prompts = prompts_of(samples)
    expected = Engine(model, max_rows=64).run(samples, prompts, decoding)
    read = model.counts["prefilled"]
    lengths = {len(outcome.reasoning) for row in expected for outcome in row}
    assert len(lengths) > 1 and max(lengths) == 14

    # Room for some rows that are a few tokens longer than all are when they begin.
    columns = samples.prefix.kv.columns + max(map(len, prompts)) + 4
    samples.pool = PoolSize(6, room := 6 * columns)
    passes = watch(model)
    model.counts.clear()
    found = Engine(model).run(samples, prompts, decoding)
    assert model.counts["prefilled"] > read, "no row was given up"
    seen = [mask for ids, mask in passes if ids[1] == 1]
    assert all(rows == 1 or rows * width <= room for rows, width in seen)
    for ours, theirs in zip(chain(*found), chain(*expected), strict=True):
        assert ours.reasoning == theirs.reasoning
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4, abs=1e-4)
        assert ours.mistake == theirs.mistake
        assert ours.nll == pytest.approx(theirs.nll, rel=1e-4)


@given(count=st.integers(1, 400), rows=st.integers(1, 130))
def test_a_few_rows_get_no_pool_of_their_own(count: int, rows: int) -> None:
    taken = pools.taken_at_once(count, rows)
    assert 1 <= taken <= 1.125 * rows
    if taken != rows:
        assert math.ceil(count / taken) <= max(1, count // rows)


def test_a_column_costs_what_it_takes(family: str, make_model: Any, make_samples: Any) -> None:
    samples = make_samples(make_model(family))
    samples.prefix.reach(())
    kv = samples.prefix.kv.select(range(len(samples)))
    held = sum(
        buffer.nelement() * buffer.element_size()
        for layer in kv.cache.layers
        for buffer in (layer.keys, layer.values)
    )
    assert kv.column_bytes.total() * kv.rows * kv.columns == held


def test_budget_halves_for_good() -> None:
    seen: list[int] = []

    def work(chunk: Any) -> list[int]:
        if len(chunk) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        seen.append(len(chunk))
        return [2 * item for item in chunk]

    budget = RowBudget(16)
    assert budget.map(range(10), work) == [2 * item for item in range(10)]
    assert budget.rows == 2 and seen == [2] * 5

    def never(chunk: Any) -> list[int]:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    with pytest.raises(InputError, match="does not hold even one example"):
        budget.map(range(3), never)

    def broken(chunk: Any) -> list[int]:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        budget.map(range(3), broken)


def test_logits_that_are_no_numbers_stop_the_run(make_model: Any, make_samples: Any) -> None:
    model = make_model("llama-3")
    samples = make_samples(model)
    with torch.no_grad():
        model.model.get_output_embeddings().weight[7] = torch.nan
    with pytest.raises(FloatingPointError, match=r"not finite for prompt ' proper.*' on row 0"):
        Engine(model, 64).run(samples, prompts_of(samples, PROMPTS[:1]), Decoding(4))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_selected_joined_and_cropped_rows_attend_as_before(
    make_model: Callable[..., LanguageModel], data: st.DataObject
) -> None:
    """Whatever is done to a batch of rows, a row's next logits are those of its ids alone."""
    model = make_model("llama-3")
    token = st.integers(5, model.vocabulary - 1)
    sequences = data.draw(st.lists(st.lists(token, min_size=1, max_size=7), min_size=2, max_size=5))
    kv = KVRows.empty(len(sequences), model.device)
    ids, valid = pad_left(sequences, model.filler, model.device)
    model.read(kv, ids, valid=valid)
    rows = data.draw(
        st.lists(st.integers(0, len(sequences) - 1), min_size=1, max_size=6), label="rows"
    )
    cut = data.draw(st.integers(1, len(rows)), label="cut")
    spare = data.draw(st.integers(0, 3), label="spare")
    parts = [kv.select(part, spare) for part in (rows[:cut], rows[cut:]) if part]
    held = [list(sequences[row]) for row in rows]
    if data.draw(st.booleans(), label="junk"):
        columns = parts[0].columns
        model.read(parts[0], torch.full((cut, 2), 9))
        parts[0].crop(columns)
    if data.draw(st.booleans(), label="gaps"):
        # The first part's rows read two more tokens, some of them only one: a gap.
        both = torch.tensor(data.draw(st.lists(st.booleans(), min_size=cut, max_size=cut)))
        model.read(parts[0], torch.full((cut, 2), 9), valid=torch.stack([both, both | True], 1))
        for ids_, two in zip(held, both.tolist(), strict=False):
            ids_ += [9, 9] if two else [9]
    places = None
    if data.draw(st.booleans(), label="shuffled"):
        order = data.draw(st.permutations(range(len(rows))), label="order")
        places = torch.tensor(order).split([part.rows for part in parts])
        held = [held[order.index(place)] for place in range(len(rows))]
    joined = KVRows.join(parts, places, spare)
    counts = joined.mask.sum(1)
    edge = torch.arange(joined.columns) >= joined.columns - counts[:, None]
    assert torch.equal(joined.mask, edge) and counts.max() == joined.columns
    for _ in range(2):
        new = data.draw(st.lists(token, min_size=len(rows), max_size=len(rows)))
        logits, _ = model.read(joined, torch.tensor(new)[:, None])
        for row, (ids_, one) in enumerate(zip(held, new, strict=True)):
            ids_.append(one)
            assert torch.allclose(logits[row], plain.logits(model, ids_)[-1], atol=1e-4)


def test_a_split_uses_its_rows_up(make_model: Any, make_samples: Any) -> None:
    samples = make_samples(make_model("gemma-2"))
    samples.prefix.reach(())
    whole = samples.prefix.kv.select(range(len(samples)))
    going = torch.tensor([row % 2 == 0 for row in range(whole.rows)])
    expected = [whole.select(rows.nonzero()[:, 0]) for rows in (going, ~going)]
    for mine, theirs in zip(whole.split(going, spare=3), expected, strict=True):
        assert torch.equal(mine.mask, theirs.mask)
        assert torch.equal(mine.positions, theirs.positions)
        for one, other in zip(mine.cache.layers, theirs.cache.layers, strict=True):
            width = other.length
            assert one.length == width
            torch.testing.assert_close(one.keys[:, :, :width], other.keys[:, :, :width])
            torch.testing.assert_close(one.values[:, :, :width], other.values[:, :, :width])
    assert all(layer.keys is None for layer in whole.cache.layers)
