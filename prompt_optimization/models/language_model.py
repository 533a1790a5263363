"""A frozen causal language model that continues cached rows and shows logits where asked.

This is the only place that calls the network. Everything above it speaks of rows, new tokens and
the places whose logits are wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from prompt_optimization.models.kv import KVRows
from prompt_optimization.models.shape import Shape

if TYPE_CHECKING:
    from prompt_optimization.models.static import StaticBuffers

# Upper bound for one block of logits in elements (float32: 64 MiB).
LOGITS_BLOCK = 16 * 2**20


class LanguageModel:
    """A model and its tokenizer, with parameters frozen.

    Attributes:
        device: where ids go in and logits come out, whatever lies elsewhere.
        devices: all devices that hold weights, in the order of the layers.
        quantised: some weights are kept in fewer bits than is computed in.
        stop_ids: ids that end a generation; those that model and tokenizer declare, to begin
            with.
        shape: what a token takes.
        local: some layers attend to a window of nearby columns only.
        static: where pools decode by steps that can be captured; None where they grow.
        counts: tokens so far, by kind: ``prefilled`` (known tokens run through the model, but for
            questions), ``decoded`` (tokens chosen by it) and ``differentiated`` (tokens of
            backward passes).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
    ) -> None:
        """
        Args:
            model: any transformers causal language model; it is put in eval mode and frozen.
            tokenizer: its tokenizer.
            name: how logs call it.
        """
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.device: torch.device = model.get_input_embeddings().weight.device
        self.devices = tuple(dict.fromkeys(each.device for each in model.parameters()))
        self.quantised = getattr(model, "hf_quantizer", None) is not None
        declared = [
            getattr(model.config.get_text_config(), "eos_token_id", None),
            getattr(getattr(model, "generation_config", None), "eos_token_id", None),
            tokenizer.eos_token_id,
        ]
        self.stop_ids = frozenset(
            int(one)
            for ids in declared
            for one in (ids if isinstance(ids, list | tuple) else [ids])
            if one is not None
        )
        # Only fills masked columns, so any id of the vocabulary serves when there is no pad.
        self.filler = next(
            (i for i in (tokenizer.pad_token_id, *self.stop_ids) if i is not None), 0
        )
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self.shape = Shape.of(model.config, model.dtype)
        self.counts: Counter[str] = Counter()
        self.local = _attends_locally(model.config.get_text_config())
        self.static: StaticBuffers | None = None
        self._picked: tuple[torch.Tensor, torch.Tensor] | None = None
        self._hook = model.get_output_embeddings().register_forward_pre_hook(self._pick)

    def release(self) -> None:
        """Leave the network as any other: it can be given to somebody else afterwards."""
        self._hook.remove()
        self.release_buffers()

    def release_buffers(self) -> None:
        """Give back the memory that pools have decoded in."""
        if self.static is not None:
            self.static.release()

    @property
    def stops(self) -> torch.Tensor:
        """``stop_ids``, sorted, on the device."""
        return torch.tensor(sorted(self.stop_ids), dtype=torch.long, device=self.device)

    @property
    def context(self) -> int | None:
        """Longest sequence the model was made for, in tokens; None when it does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Input vectors of ``ids`` [...] as the first layer reads them: [..., width]."""
        vectors: torch.Tensor = self.model.get_input_embeddings()(ids)
        return vectors

    def packed(self, kv: KVRows, spare: int = 0) -> KVRows:
        """``kv`` without gaps within its rows where layers attend locally, because a gap would
        narrow their window. Rows that have to be moved get room for ``spare`` more columns."""
        return KVRows.join([kv], spare=spare) if self.local else kv

    def extend(
        self,
        kv: KVRows,
        new: torch.Tensor,
        where: tuple[torch.Tensor, torch.Tensor],
        valid: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run ``new`` after the cached rows and return logits at the places ``where``.

        Args:
            kv: the rows, which grow by ``new``'s columns.
            new: ids [rows, columns], or input vectors [rows, columns, width].
            where: row and column indices [n], columns counted within ``new``.
            valid: [rows, columns] bool, False for filler; all real when left out.

        Returns:
            logits [n, vocabulary] in the model's precision.
        """
        shape = new.shape[:2]
        if valid is None:
            valid = torch.ones(shape, dtype=torch.bool, device=self.device)
        positions = (kv.positions[:, None] + valid.cumsum(1) - 1).clamp_(min=0)
        everything = torch.cat([kv.mask, valid], dim=1)
        inputs = {"input_ids": new} if new.ndim == 2 else {"inputs_embeds": new}
        logits = self._call(inputs, everything.long(), positions, kv.cache, where)
        kv.grow(valid)
        return logits

    def read_one(
        self, cache: Cache, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        """Run one token a row, without a look at any number, and return the logits after it.

        Args:
            cache: of fixed size; it knows where the tokens go.
            ids, positions: [rows] the tokens, and where they stand in their rows.
            mask: [rows, columns] which of the cache's columns belong to a row, with the new one.
        """
        row = torch.arange(len(ids), device=self.device)
        inputs = {"input_ids": ids[:, None]}
        where = row, torch.zeros_like(row)
        return self._call(inputs, mask[:, None, None], positions[:, None], cache, where)

    def _call(
        self,
        inputs: dict[str, torch.Tensor],
        mask: torch.Tensor,
        positions: torch.Tensor,
        cache: Cache,
        where: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        self._picked = where
        try:
            output = self.model(
                **inputs,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
        finally:
            self._picked = None
        logits: torch.Tensor = output.logits.to(self.device)
        return logits.view(-1, logits.shape[-1])

    @torch.no_grad()
    def read(
        self, kv: KVRows, ids: torch.Tensor, scored: int = 0, valid: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run known ``ids`` [rows, columns] after the rows.

        Args:
            scored: how many of the leading columns predict a token whose likelihood is wanted.

        Returns:
            logits after each row's last real column [rows, vocabulary], and the negative
            log-likelihood [rows, scored] of the tokens that follow the first ``scored`` columns in
            ``ids``.
        """
        rows, columns = ids.shape
        assert 0 <= scored < columns
        self.counts["prefilled"] += ids.numel() if valid is None else int(valid.sum())
        row = torch.arange(rows, device=self.device)
        last = torch.full_like(row, columns - 1)
        ends: list[int] = []
        if valid is not None:
            last = (torch.arange(columns, device=self.device) * valid).amax(1)
            ends = last.tolist()
        losses = []
        # Rows all of whose columns are scored ones, with the logits after their last.
        ended: list[tuple[list[int], torch.Tensor]] = []
        start = 0
        # The scored columns go in blocks, because their logits over a large vocabulary are
        # larger than everything else here.
        step = max(1, LOGITS_BLOCK // (rows * self.vocabulary))
        while start < scored:
            stop = min(start + step, scored)
            width = stop - start
            where = (
                row.repeat_interleave(width),
                torch.arange(width, device=self.device).repeat(rows),
            )
            part = None if valid is None else valid[:, start:stop]
            logits = self.extend(kv, ids[:, start:stop], where, part)
            if here := [each for each, end in enumerate(ends) if start <= end < stop]:
                ended.append((here, logits[[each * width + ends[each] - start for each in here]]))
            follow = ids[:, start + 1 : stop + 1].reshape(-1)
            loss = torch.nn.functional.cross_entropy(
                at_least_float32(logits), follow, reduction="none"
            )
            losses.append(loss.view(rows, width))
            start = stop
        part = None if valid is None else valid[:, start:]
        logits = self.extend(kv, ids[:, start:], (row, (last - start).clamp_(min=0)), part)
        for here, theirs in ended:
            logits[here] = theirs
        nll = torch.cat(losses, dim=1) if losses else at_least_float32(logits.new_zeros(rows, 0))
        return logits, nll

    def _pick(
        self, module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...] | None:
        """Hand the output head only the hidden states whose logits are wanted.

        Works for every family, and keeps whatever the family does after its head. Indexing
        makes the states contiguous: for a strided slice in bfloat16 on a CPU, torch copies the
        whole head once per row.
        """
        if self._picked is None:
            return None
        (hidden,) = arguments
        rows, columns = self._picked
        return (hidden[rows.to(hidden.device), columns.to(hidden.device)].unsqueeze(0),)


def _attends_locally(config: PreTrainedConfig) -> bool:
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return any(kind != "full_attention" for kind in kinds)
    return getattr(config, "sliding_window", None) is not None


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """``x`` in float32, or as it is when it is more precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def pad_right(
    sequences: Sequence[Sequence[int]], filler: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """``sequences`` as ids [rows, longest] and their mask, filled up on the right."""
    width = max(len(ids) for ids in sequences)
    ids = [[*one, *[filler] * (width - len(one))] for one in sequences]
    lengths = torch.tensor([len(one) for one in sequences], device=device)
    mask = torch.arange(width, device=device)[None, :] < lengths[:, None]
    return torch.tensor(ids, dtype=torch.long, device=device), mask


def pad_left(
    sequences: Sequence[Sequence[int]], filler: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """``sequences`` as ids [rows, longest] and their mask, filled up on the left."""
    ids, mask = pad_right([list(reversed(one)) for one in sequences], filler, device)
    return ids.flip(1), mask.flip(1)
