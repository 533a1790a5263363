"""Which model is trained to write prompts, and what has to be installed for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import version

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.keys import Settings, key

# The versions of trl whose trainers are called, by the first part of the number.
TRL = 1


@dataclass(frozen=True)
class PolicySettings(Settings):
    """Base class of the settings of a method that trains a policy."""

    policy_model: str = key(
        "",
        "the model that learns to write prompts, named as in model_paths; empty: a second copy of "
        "the model that the prompt is optimised for",
    )
    device: str = key("auto", "where the policy is: cpu, cuda:0, ..., or auto")
    adapter: str = key(
        "lora",
        "the policy's weights that are trained: lora, or full for all of them",
        choices=("lora", "full"),
    )
    rank: int = key(8, "of the LoRA", low=1)
    pairs: int = key(8, "pairs of one update", low=1)
    length: int = key(64, "longest prompt that is written, in the policy's tokens", low=1)

    @property
    def warnings(self) -> list[str]:
        if self.adapter == "full":
            return self.idle(f"with {self.group}.adapter=full", "rank")
        return []


def check_training(method: str) -> None:
    """Refuse a Python that cannot train a policy, before anything is computed.

    Raises:
        InputError: a package is missing, or has another version.
    """
    need = f"the method {method}"
    major, minor = sys.version_info[:2]
    if (major, minor) < (3, 11):
        raise InputError(
            f"{need} trains with trl, which needs Python 3.11 or newer, and this is "
            f"{major}.{minor}; take a newer one",
            key="method",
        )
    require_package(need, "train", "trl", "peft", "datasets", "accelerate", key="method")
    found = version("trl")
    if found.partition(".")[0] != str(TRL):
        raise InputError(
            f"{need} trains with trl {TRL}, and trl {found} is installed; install it with "
            "pip install 'greater-prompt-optimization[train]'",
            key="method",
        )
