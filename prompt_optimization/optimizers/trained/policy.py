"""The policy: a chat model that is trained to write prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from safetensors.torch import load, save

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import end_of_turn, resolve_chat_format
from prompt_optimization.models.loading import load_language_model
from prompt_optimization.models.model import Model
from prompt_optimization.models.outline import load_outline
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.spans import tokenise
from prompt_optimization.models.worker import Worker
from prompt_optimization.models.writers import LocalWriter, Reply, Request
from prompt_optimization.optimizers.own_model import worded_for
from prompt_optimization.optimizers.trained.settings import PolicySettings

Weights = Mapping[str, torch.Tensor]
Ids = tuple[int, ...]


def check_policy(name: str, own: PolicySettings) -> None:
    """Refuse a model that cannot be the policy, without reading its weights.

    Raises:
        InputError: there is no such model or device, or its tokenizer has nothing to fill rows
            with.
    """
    with worded_for(own.group):
        outline = load_outline(_settings_of(name, own))
    if outline.tokenizer.pad_token is None and outline.tokenizer.eos_token is None:
        raise InputError(
            f"the tokenizer of the policy '{name}' has no token that ends a text; choose another "
            "policy",
            key=f"{own.group}.policy_model",
        )


class Policy:
    """A model in float32 with the weights that are trained.

    Attributes:
        network: what a trainer trains: the model, or the model with its LoRA.
    """

    def __init__(self, name: str, own: PolicySettings, seed: int) -> None:
        """Load the model, and draw the LoRA's weights.

        Raises:
            InputError: it cannot be loaded.
        """
        self.name = name
        self.own = own
        with worded_for(own.group):
            language = load_language_model(_settings_of(name, own))
            self.chat = resolve_chat_format(language.tokenizer)
        ends = end_of_turn(language.tokenizer, self.chat)
        language.stop_ids |= set(ends)
        self.language = language
        self.tokenizer: Any = language.tokenizer
        self.ends: Ids = tuple(ends) or tuple(sorted(language.stop_ids))[:1]
        self.network: Any = language.model
        if own.adapter == "lora":
            self.network = _with_lora(self.network, own.rank, seed)
        else:
            self.network.requires_grad_(True)
        # Tied weights have one name here.
        self._trained = {
            each: weight for each, weight in self.network.named_parameters() if weight.requires_grad
        }

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the trained weights."""
        return {each: weight.detach().cpu().clone() for each, weight in self._trained.items()}

    @torch.no_grad()
    def load(self, weights: Weights) -> None:
        """Take the weights that ``weights()`` gave."""
        assert weights.keys() == self._trained.keys(), "weights of another policy"
        for each, weight in self._trained.items():
            weight.copy_(weights[each])

    def asked(self, requests: Sequence[str]) -> list[Ids]:
        """What the policy reads when it is asked each of ``requests``."""
        rendered = [self.chat.render(each) for each in requests]
        return [self.chat.start + each.ids for each in tokenise(self.tokenizer, rendered)]

    def replied(self, prompts: Sequence[str]) -> list[Ids]:
        """What it writes when it replies each of ``prompts``, with the end of its turn."""
        words = [each.strip() for each in prompts]
        return [each.ids + self.ends for each in tokenise(self.tokenizer, words)]

    def check_room(self, longest: int) -> None:
        """Refuse rows that do not fit.

        Args:
            longest: the tokens of the longest request with its prompt.

        Raises:
            InputError: the model reads fewer.
        """
        context = self.language.context
        if context is not None and longest > context:
            raise InputError(
                f"a request needs {longest} tokens with its prompt, more than the {context} of "
                f"the policy '{self.name}'; choose another one",
                key=f"{self.own.group}.policy_model",
            )

    def write(
        self,
        requests: Sequence[str],
        *,
        draws: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """``draws`` texts for each of ``requests``.

        Args:
            temperature: 0 takes the likeliest token.

        Raises:
            InputError: a request does not fit the model.
        """
        found: list[list[str]] = [[] for _ in requests]

        def answered(index: int, replies: list[Reply]) -> None:
            found[index] = [reply.text for reply in replies]

        asked = [
            Request(each, "", draws, temperature, top_p, self.own.length, seed) for each in requests
        ]
        self.network.eval()
        writer = LocalWriter(Model.in_process(Worker(self.language, self.chat)))
        try:
            writer.write(asked, answered)
        except InputError as error:
            keys = tuple(f"{self.own.group}.{name}" for name in ("length", "policy_model"))
            raise InputError(error.problem, key=keys) from None
        return found


def to_bytes(weights: Weights) -> bytes:
    """As a safetensors file."""
    return save({name: tensor.contiguous() for name, tensor in weights.items()})


def of_bytes(data: bytes) -> dict[str, torch.Tensor]:
    """The weights that ``to_bytes`` wrote."""
    return load(data)


def _settings_of(name: str, own: PolicySettings) -> ModelSettings:
    return ModelSettings(name, device=own.device, dtype="float32")


def _with_lora(network: Any, rank: int, seed: int) -> Any:
    """``network`` with a LoRA on every linear layer but the last."""
    peft = import_module("peft")
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return peft.get_peft_model(network, config)
