"""The policy: a chat model that writes a prompt for a question when it is asked for a return."""

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
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.spans import tokenise
from prompt_optimization.models.worker import Worker
from prompt_optimization.models.writers import LocalWriter, Reply, Request
from prompt_optimization.optimizers.qpo.returns import Pair
from prompt_optimization.optimizers.qpo.settings import QpoSettings

REQUEST = "Write an instruction for a model that answers this.\n{question}\nScore, 0 to 9: {level}"

Weights = Mapping[str, torch.Tensor]
Ids = tuple[int, ...]


def request_of(question: str, level: int) -> str:
    """What the policy is asked."""
    return REQUEST.format(question=question.strip(), level=level)


class Policy:
    """A model in float32 with the weights that are trained.

    Attributes:
        network: what a trainer trains: the model, or the model with its LoRA.
    """

    def __init__(self, name: str, own: QpoSettings, seed: int) -> None:
        """Load the model, and draw the LoRA's weights.

        Raises:
            InputError: it cannot be loaded.
        """
        self.name = name
        try:
            language = load_language_model(ModelSettings(name, device=own.device, dtype="float32"))
            self.chat = resolve_chat_format(language.tokenizer)
        except InputError as error:
            keys = ("qpo.device",) if "devices" in error.keys else ("qpo.policy_model",)
            raise InputError(error.problem, key=keys) from None
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

    def rows(self, pairs: Sequence[Pair]) -> list[tuple[Ids, Ids]]:
        """What is learnt from: a request's ids, and those of its prompt with the end of the turn.

        Raises:
            InputError: a pair does not fit the model.
        """
        asked = [self.chat.render(request_of(pair.question, pair.level)) for pair in pairs]
        written = [pair.prompt.strip() for pair in pairs]
        found = [
            (self.chat.start + request.ids, prompt.ids + self.ends)
            for request, prompt in zip(
                tokenise(self.tokenizer, asked), tokenise(self.tokenizer, written), strict=True
            )
        ]
        longest, context = max(len(a) + len(b) for a, b in found), self.language.context
        if context is not None and longest > context:
            raise InputError(
                f"a question needs {longest} tokens with its prompt, more than the {context} of "
                f"the policy '{self.name}'; choose another one",
                key="qpo.policy_model",
            )
        return found

    def write(
        self,
        questions: Sequence[str],
        level: int,
        length: int,
        *,
        draws: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> list[list[str]]:
        """``draws`` texts for each question.

        Args:
            level: the return that is asked for.
            length: the longest text, in tokens.
            temperature: 0 takes the likeliest token.

        Raises:
            InputError: a question does not fit the model.
        """
        found: list[list[str]] = [[] for _ in questions]

        def answered(index: int, replies: list[Reply]) -> None:
            found[index] = [reply.text for reply in replies]

        requests = [
            Request(request_of(question, level), "", draws, temperature, top_p, length, seed)
            for question in questions
        ]
        self.network.eval()
        writer = LocalWriter(Model.in_process(Worker(self.language, self.chat)))
        try:
            writer.write(requests, answered)
        except InputError as error:
            raise InputError(error.problem, key=("qpo.length", "qpo.policy_model")) from None
        return found


def to_bytes(weights: Weights) -> bytes:
    """As a safetensors file."""
    return save({name: tensor.contiguous() for name, tensor in weights.items()})


def of_bytes(data: bytes) -> dict[str, torch.Tensor]:
    """The weights that ``to_bytes`` wrote."""
    return load(data)


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
