"""The optimizer's settings, in the words of the published library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from prompt_optimization.errors import InputError, did_you_mean
from prompt_optimization.keys import Key
from prompt_optimization.models.answer_loss import AnswerLoss
from prompt_optimization.models.settings import of_generate_config
from prompt_optimization.optimizers.registry import DEFAULT, settings_class
from prompt_optimization.runs.config import Plan, all_keys, plan
from prompt_optimization.tasks.metrics.registry import own_metric
from prompt_optimization.tasks.templates import END, as_text

# Settings of the harness that are arguments here, have another form, or are about files and flags.
NOT_OFFERED = {
    "n_steps", "control_init", "max_new_tokens", "allow_non_ascii", "selection_control_weight",
    "resume", "result_prefix", "logfile", "track", "verbose", "devices", "workers", "ray_address",
    "worker_timeout", "deterministic", "extractor_text", "extractor_style", "dev_data", "test_data",
    "train_data", "target_data", "data_offset", "n_train_data", "n_dev_data", "n_test_data",
    "task.question_column", "task.answer_column", "task.few_shot", "task.few_shot_number",
    "task.few_shot_data", "reasoning.temperature", "reasoning.top_k", "reasoning.top_p",
}  # fmt: skip
NOT_OFFERED_GROUPS = {"model", "ignored"}

# The published usage has three to five inputs, on which mistakes take few values.
DEFAULTS: dict[str, Any] = {"objective": "loss", "connector": ".", "max_new_tokens": 256}

# Keys that the harness does not have, with their defaults and meanings.
OWN: dict[str, tuple[Any, str]] = {
    "loss_function": (
        torch.nn.functional.cross_entropy,
        "(y_pred, y) -> one number: of an answer's log-probabilities [tokens, vocabulary] and ids "
        "[tokens]; steers the gradient, and under objective='loss' the choice too",
    ),
    "perplexity_loss": (True, "add the prompt's own negative log-likelihood to the loss"),
    "filter": (True, "propose words, '.', ',' and spaces only, so that prompts stay readable"),
    "generate_config": (
        {},
        "of the reasoning: max_new_tokens (256), and temperature, top_k, top_p, do_sample to draw "
        "its tokens; without them it is greedy",
    ),
    "chat_template": (
        "auto",
        "auto for the tokenizer's own, llama-3, gemma-2, or the name of an fschat template",
    ),
    "chat_template_arguments": (
        {},
        "variables of the tokenizer's own template, such as date_string for Llama-3.2, whose "
        "template would write today's date",
    ),
}


@cache
def offered() -> dict[str, Key]:
    """The harness's settings that are offered here, by the library's name."""
    return {
        each.library or each.name: each
        for each in all_keys().values()
        if each.group not in NOT_OFFERED_GROUPS and each.name not in NOT_OFFERED
    }


def word_of(key: str) -> str:
    """What the library calls a setting."""
    each = all_keys().get(key)
    return (each.library or each.name) if each else key


class OptimizeConfig(dict[str, Any]):
    """Settings of ``GreaterOptimizer``: the published keys, and those of the harness that are not
    about files. ``docs/library.md`` lists them."""

    def __init__(self, **given: Any) -> None:
        """
        Raises:
            InputError: a key is unknown, or a value has the wrong type or size.
        """
        names = [*OWN, *offered()]
        given["template"] = as_text(given.get("template", END))
        for name in given:
            if name not in names:
                raise InputError(
                    f"optimize_config has the unknown key '{name}'; {did_you_mean(name, names)}"
                )
        values = {name: _own(name, given.get(name, OWN[name][0])) for name in OWN}
        method = all_keys()["method"].check(given.get("method", DEFAULT))
        defaults = {**DEFAULTS, **settings_class(method).defaults}
        for name, each in offered().items():
            value = given.get(name, defaults.get(each.name, each.default))
            values[name] = value if name == "metric" and callable(value) else each.check(value)
        super().__init__(values)
        self._reasoning = of_generate_config(self["generate_config"])

    @classmethod
    def of(cls, config: OptimizeConfig | Mapping[str, Any] | None) -> OptimizeConfig:
        """``config``, whatever it is given as.

        Raises:
            InputError: as ``OptimizeConfig``.
        """
        if not isinstance(config, Mapping | None):
            raise InputError(
                f"optimize_config is a {type(config).__name__}; give a dict or an OptimizeConfig"
            )
        return cls(**{str(name): value for name, value in (config or {}).items()})

    @property
    def loss(self) -> AnswerLoss | None:
        """What stands in for the mean cross-entropy, if anything does."""
        own: Callable[..., torch.Tensor] = self["loss_function"]
        return None if own is torch.nn.functional.cross_entropy else own

    def plan(self, **values: Any) -> Plan:
        """The harness's settings, checked, with further ``values`` by name.

        Raises:
            InputError: a value cannot be used.
        """
        found = {name: each.unset for name, each in all_keys().items()} | DEFAULTS
        found |= {each.name: self[name] for name, each in offered().items()}
        weight = found["control_weight"] if self["perplexity_loss"] else 0.0
        function = self["metric"] if callable(self["metric"]) else None
        # Where the method says nothing else, as in the published code.
        selection = settings_class(self["method"]).defaults.get("selection_control_weight")
        own = {
            "control_weight": weight,
            "selection_control_weight": weight / 10 if selection is None else selection,
            "allow_non_ascii": not self["filter"],
            "conversation_templates": (self["chat_template"],),
            "chat_template_kwargs": self["chat_template_arguments"],
            "metric": "strict" if function else self["metric"],
            "train_data": "inputs",
            **self._reasoning,
        }
        return plan(found | own | values, own_metric(function) if function else None)


def _own(name: str, value: Any) -> Any:
    """A key of the library's own.

    Raises:
        InputError: the value has another type than the default.
    """
    default = OWN[name][0]
    if callable(default):
        if callable(value):
            return value
        raise InputError(f"{value!r} is not a function of y_pred and y; give one", key=name)
    return Key(name, "", "", type(default), default, "").check(value)
