"""The optimizer's settings, in the words of the published library."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from prompt_optimization.errors import InputError, nearest
from prompt_optimization.models.decode import Sampling
from prompt_optimization.models.engine import Decoding
from prompt_optimization.optimizers.greater.differentiate import LossWeights
from prompt_optimization.optimizers.greater.settings import BEHAVIOURS, SearchSettings

CHOICES = {"objective": ("loss", "mistakes")}

# Smallest and largest sensible values.
RANGES: dict[str, tuple[float, float]] = {
    "intersect_q": (1, 10_000),
    "candidates_topk": (1, 1_000_000),
    "topq": (1, 10_000),
    "shortlist_size": (1, 10_000),
    "perplexity_lambda": (0, 1e6),
    "answer_temperature": (1e-6, 1e6),
    "answer_tokens": (1, 1_000_000),
    "max_prompt_tokens": (2, 1_000_000),
    "top_prompts": (1, 10_000),
    "max_rows": (0, 1_000_000),
    "gradient_rows": (0, 1_000_000),
    "max_new_tokens": (1, 1_000_000),
    "temperature": (0, 1e6),
    "top_k": (0, 10_000_000),
    "top_p": (1e-6, 1),
}

# A temperature up to this is greedy: logits divided by less leave float32.
COLDEST = 1e-6

# Of ``generate_config``, with the types of their values.
GENERATE: dict[str, type] = {
    "do_sample": bool,
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "max_new_tokens": int,
}


@dataclass(frozen=True)
class OptimizeConfig:
    """Settings of ``GreaterOptimizer``; the published keys first.

    Attributes:
        intersect_q: samples whose proposals are intersected (paper: q = 5).
        candidates_topk: tokens that a sample proposes for a position (paper: 10).
        loss_function: ``(y_pred, y)`` -> one number: of an answer's log-probabilities
            [tokens, vocabulary] and ids [tokens]. Steers the gradient, and under
            ``objective="loss"`` the choice too.
        perplexity_loss: add the prompt's own negative log-likelihood to the loss.
        perplexity_lambda: its weight in the differentiated loss (paper: 0.2); a tenth of it when
            candidates are compared, as in the published code.
        filter: propose words, ``.``, ``,`` and spaces only, so that prompts stay readable.
        generate_config: of the reasoning: ``max_new_tokens`` (256), and ``temperature``, ``top_k``,
            ``top_p``, ``do_sample`` to draw its tokens. Without them it is greedy.
        topq: random groups of samples whose intersections are united.
        shortlist_size: tokens tried for real in a round (paper: mu = 3).
        objective: what candidates are compared by, besides their likelihood: ``loss`` of the
            answers, or ``mistakes``, the share of samples whose answer is not the model's own.
        answer_temperature: divides the logits under the differentiated loss.
        anneal: accept what is worse too, ever less often (paper, section 4.1).
        connector: text between question and prompt.
        chat_template: ``auto`` for the tokenizer's own, or the name of an fschat template.
        chat_template_arguments: variables of the tokenizer's own, such as ``date_string`` for
            Llama-3.2, whose template would otherwise write today's date.
        answer_tokens: limit of the answers that held-out evaluation reads.
        max_prompt_tokens: the prompt does not grow beyond this.
        top_prompts: how many of the best prompts are kept.
        max_rows, gradient_rows: rows decoded, and differentiated, at once; 0 leaves it to the
            device. They halve by themselves when memory runs out.
        seed: of all random choices.
    """

    intersect_q: int = 5
    candidates_topk: int = 10
    loss_function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = (
        torch.nn.functional.cross_entropy
    )
    perplexity_loss: bool = True
    perplexity_lambda: float = 0.2
    filter: bool = True
    generate_config: Mapping[str, Any] = field(default_factory=dict)
    topq: int = 6
    shortlist_size: int = 3
    objective: str = "loss"
    answer_temperature: float = 0.2
    anneal: bool = False
    connector: str = "."
    chat_template: str = "auto"
    chat_template_arguments: Mapping[str, Any] = field(default_factory=dict)
    answer_tokens: int = 16
    max_prompt_tokens: int = 64
    top_prompts: int = 10
    max_rows: int = 0
    gradient_rows: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = _checked("optimize_config", each.name, getattr(self, each.name), each.default)
            object.__setattr__(self, each.name, value)
        generate = {}
        for key, value in self.generate_config.items():
            if key not in GENERATE:
                raise _unknown("generate_config", key, list(GENERATE))
            generate[key] = _checked("generate_config", key, value, GENERATE[key]())
        object.__setattr__(self, "generate_config", generate)
        if self.candidates_topk < self.shortlist_size:
            raise InputError(
                f"optimize_config's candidates_topk={self.candidates_topk} proposes fewer tokens "
                f"than shortlist_size={self.shortlist_size} tries; raise it"
            )

    @classmethod
    def of(cls, config: OptimizeConfig | Mapping[str, Any] | None) -> OptimizeConfig:
        """``config``, whatever it is given as.

        Raises:
            InputError: a key is unknown, or a value has the wrong type or size.
        """
        if isinstance(config, OptimizeConfig):
            return config
        if not isinstance(config, Mapping | None):
            raise InputError(
                f"optimize_config is a {type(config).__name__}; give a dict or an OptimizeConfig"
            )
        names = [each.name for each in fields(cls)]
        for key in config or {}:
            if key not in names:
                raise _unknown("optimize_config", key, names)
        return cls(**(config or {}))

    @property
    def decoding(self) -> Decoding:
        """How the reasoning is written and its answer scored."""
        own = self.generate_config
        temperature = float(own.get("temperature", 1.0))
        drawn = own.get("do_sample", bool({"temperature", "top_k", "top_p"} & set(own)))
        sampling = None
        if drawn and temperature > COLDEST:
            sampling = Sampling(temperature, own.get("top_k", 0), own.get("top_p", 1.0), self.seed)
        default = self.loss_function is torch.nn.functional.cross_entropy
        return Decoding(
            own.get("max_new_tokens", 256),
            sampling=sampling,
            answer_loss=None if default else self.loss_function,
        )

    @property
    def held_out(self) -> Decoding:
        """The same, with an answer of the model's own."""
        return replace(self.decoding, answer_tokens=self.answer_tokens)

    def search(self, rounds: int) -> SearchSettings:
        """The settings of a search that makes so many rounds."""
        weight = self.perplexity_lambda if self.perplexity_loss else 0.0
        decoding = self.decoding
        rules = BEHAVIOURS["sound"] | {"accept": "anneal" if self.anneal else "improve"}
        return SearchSettings(
            steps=rounds,
            topk=self.candidates_topk,
            topq=self.topq,
            group_size=self.intersect_q,
            shortlist_size=self.shortlist_size,
            gradient=LossWeights(1.0, weight, self.answer_temperature, decoding.answer_loss),
            decoding=decoding,
            objective=self.objective,
            objective_nll_weight=weight / 10,
            progressive=False,
            allow_non_ascii=not self.filter,
            max_prompt_tokens=self.max_prompt_tokens,
            top_prompts=self.top_prompts,
            seed=self.seed,
            **rules,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What a search hangs on, as JSON can hold it; the loss by its name."""
        loss = self.loss_function
        name = getattr(loss, "__qualname__", type(loss).__qualname__)
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        for key in ("max_rows", "gradient_rows", "answer_tokens", "chat_template_arguments"):
            del own[key]  # memory, held-out evaluation, and what the template's hash tells
        return own | {"loss_function": f"{getattr(loss, '__module__', '')}.{name}"}


def _unknown(place: str, key: object, names: list[str]) -> InputError:
    meant = nearest(str(key), names)
    return InputError(f"{place} has the unknown key '{key}'; did you mean '{meant}'?")


def _checked(place: str, key: str, value: object, example: object) -> object:
    """``value`` as a plain one of ``example``'s type.

    Raises:
        InputError: it is unlike it, or out of range.
    """
    plain: object = None
    flag = isinstance(value, bool | np.bool_)
    if key == "loss_function":
        plain, kind = value if callable(value) else None, "a function of y_pred and y"
    elif key in ("generate_config", "chat_template_arguments"):
        plain, kind = dict(value) if isinstance(value, Mapping) else None, "a dict"
    elif isinstance(example, bool):
        plain, kind = bool(value) if flag else None, "True or False"
    elif isinstance(example, float):
        kind = "a number"
        plain = float(value) if isinstance(value, numbers.Real) and not flag else None
    elif isinstance(example, int):
        kind = "a whole number"
        plain = int(value) if isinstance(value, numbers.Integral) and not flag else None
    else:
        plain, kind = value if isinstance(value, type(example)) else None, "a string"
    if plain is None:
        raise InputError(f"{place}'s {key} is {value!r}; give {kind}")
    if key in CHOICES and plain not in CHOICES[key]:
        raise InputError(f"{place}'s {key} is {value!r}; choose one of {', '.join(CHOICES[key])}")
    if key in RANGES:
        low, high = RANGES[key]
        assert isinstance(plain, int | float)
        if not low <= plain <= high:
            raise InputError(f"{place}'s {key} is {plain}; give a value from {low:g} to {high:g}")
    return plain
