"""A second device on a machine that has none.

torch's lazy backend computes on the CPU, but its tensors lie on a device of their own: an operation
on tensors of both devices is an error, as it is between two GPUs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch._lazy.ts_backend
from accelerate import dispatch_model

from prompt_optimization.models.placement import layer_map

CPU = torch.device("cpu")


@cache  # torch refuses to be asked twice
def second_device() -> torch.device:
    torch._lazy.ts_backend.init()
    return torch.device("lazy:0")


def lay_on_both(net: Any) -> Any:
    """``net`` with its first layers on the CPU and its last ones on the second device."""
    return dispatch_model(
        net,
        layer_map(net, [CPU, second_device()]),
        main_device="cpu",
        skip_keys=net._skip_keys_device_placement,
    )
