"""A policy that writes prompts: a frozen causal language model with a small trained network.

The network stands between the model's last hidden state and its output head. So nothing is
differentiated through the model's body, and several networks can share one reading of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from prompt_optimization.models.language_model import at_least_float32
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.loading import load_language_model
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.optimizers.rlprompt.spelling import Draw, Spelling

# Of a network that starts almost uniform, as released.
GAIN, BIAS = 1e-4, -1e-4

# Rounds in which draws that no text means are drawn again.
ROUNDS = 8


class Adapter(nn.Module):
    """From a hidden state [..., width] to one that the output head reads: the trained part.

    With ``residual`` it begins as the identity, so the first draws are the model's own words.
    Without, every token is about equally likely at first.
    """

    def __init__(self, width: int, hidden: int, residual: bool, seed: int) -> None:
        super().__init__()
        self.residual = residual
        self.first, self.last = nn.Linear(width, hidden), nn.Linear(hidden, width)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in (self.first, self.last):
                gain = 1.0 if residual else GAIN
                nn.init.xavier_uniform_(layer.weight, gain, generator=generator)
                layer.bias.fill_(0.0 if residual else BIAS)
            if residual:
                self.last.weight.zero_()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.last(torch.relu(self.first(states)))
        return states + changed if self.residual else changed


class PromptPolicy:
    """Draws prompts of a fixed length, each of which survives as text.

    Attributes:
        adapter: what is trained.
        allowed: [2, vocabulary] bool, tokens that can stand first in a prompt, and later.
    """

    def __init__(
        self, name: str, device: str, *, hidden: int, residual: bool, fluent: int, seed: int
    ) -> None:
        """
        Args:
            name: of the model, as in model_paths.
            hidden: width of the adapter's hidden layer.
            residual: begin with the model's own words; else almost uniform.
            fluent: tokens that the model itself finds likeliest, which alone can be drawn; 0: all.
            seed: of the adapter's first weights.

        Raises:
            InputError: the model cannot be loaded (its key is ``model_paths`` or ``devices``), or
                its vocabulary spells no prompt.
        """
        self.language = load_language_model(ModelSettings(name, device=device))
        self.language.release()
        self.name, self.device = name, self.language.device
        self.tokenizer: Any = self.language.tokenizer
        self.head: Any = self.language.model.get_output_embeddings()
        self.fluent = fluent
        width = self.head.weight.shape[1]
        self._made = width, hidden, residual, seed
        self.adapter = self.untrained()
        self.spelling = Spelling(name, self.tokenizer)
        self.allowed = torch.zeros(
            2, self.head.weight.shape[0], dtype=torch.bool, device=self.device
        )
        self.allowed[0, self.spelling.first] = True
        self.allowed[1, self.spelling.later] = True
        start = self.tokenizer.bos_token_id
        self._start = self.tokenizer.eos_token_id if start is None else start
        if self._start is None:
            self._start = self.spelling.before[0]

    def untrained(self) -> Adapter:
        """An adapter as it is before any update."""
        return Adapter(*self._made).to(self.device)

    @torch.no_grad()
    def states(self, drafts: Sequence[Ids]) -> torch.Tensor:
        """What the frozen model makes of each prefix of ``drafts``, which are equally long:
        [drafts, tokens + 1, width], the first of nothing."""
        ids = torch.tensor([[self._start, *draft] for draft in drafts], device=self.device)
        body = self.language.model.base_model
        found: torch.Tensor = body(input_ids=ids, use_cache=False).last_hidden_state
        return at_least_float32(found)

    def logits(self, states: torch.Tensor, adapter: nn.Module | None = None) -> torch.Tensor:
        """Of each place's token in float32, minus infinity where it cannot stand: [drafts, places,
        vocabulary].

        The gradient goes to the adapter only.

        Args:
            states: [drafts, places, width], from the first place on.
            adapter: the policy's own when left out.
        """
        kind = self.head.weight.dtype
        later = self.allowed[1].expand(states.shape[1] - 1, -1)
        banned = ~torch.cat([self.allowed[:1], later])
        found = self.head((adapter or self.adapter)(states).to(kind))
        found = at_least_float32(found).masked_fill(banned, -math.inf)
        if not self.fluent:
            return found
        with torch.no_grad():
            own = at_least_float32(self.head(states.to(kind))).masked_fill(banned, -math.inf)
            count = min(self.fluent, int(self.allowed[0].sum()))
            least = own.topk(count, dim=-1).values[..., -1:]
        return found.masked_fill(own < least, -math.inf)

    @torch.no_grad()
    def draw(
        self,
        count: int,
        length: int,
        seed: int,
        *,
        top_k: int = 0,
        adapter: nn.Module | None = None,
        uniform: bool = False,
    ) -> list[Draw]:
        """``count`` prompts of ``length`` tokens, or fewer where no text means some of them.

        Args:
            seed: of the draws.
            top_k: draw from that many tokens; 0: from all.
            adapter: the policy's own when left out.
            uniform: every token that can stand in a prompt is equally likely.
        """
        generator = torch.Generator(self.device).manual_seed(seed)
        found: list[Draw] = []
        for _ in range(ROUNDS):
            drafts: list[Ids] = [()] * (count - len(found))
            for _ in range(length):
                logits = self.logits(self.states(drafts), adapter)[:, -1]
                if uniform:
                    logits = torch.zeros_like(logits).masked_fill(logits == -math.inf, -math.inf)
                if top_k:
                    least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
                    logits = logits.masked_fill(logits < least, -math.inf)
                tokens = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
                drafts = [(*one, t) for one, t in zip(drafts, tokens.tolist(), strict=True)]
            found += [draw for draw in self.spelling.spelt(drafts) if draw is not None]
            if len(found) == count:
                break
        return found

    @torch.no_grad()
    def greedy(self, length: int) -> str:
        """The text of the likeliest token at each place, whether it means these or not."""
        draft: Ids = ()
        for _ in range(length):
            draft = (*draft, int(self.logits(self.states([draft]))[0, -1].argmax()))
        return self.spelling.texts([draft])[0].strip()

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the adapter's weights."""
        return {
            name: each.detach().cpu().clone() for name, each in self.adapter.state_dict().items()
        }

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take the weights that ``state`` gave."""
        self.adapter.load_state_dict(dict(tensors))
