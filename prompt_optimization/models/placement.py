"""Which parts of a model lie on which device, where one device does not hold it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from transformers import PreTrainedModel

from prompt_optimization.errors import InputError

# What joins the devices of one copy.
JOINT = "+"


def resolve_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is the first CUDA device, or else the CPU.

    Raises:
        InputError: this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # The one test that holds for every kind of device: put something there and take it back.
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(
            f"device '{name}' does not exist on this machine ({_there()}); choose another",
            key="devices",
        ) from None
    return device


def resolve_devices(name: str) -> list[torch.device]:
    """The devices of one copy, such as those of ``cuda:0+cuda:1``.

    Raises:
        InputError: this machine lacks one, or they are of several kinds.
    """
    devices = [resolve_device(each) for each in name.split(JOINT)]
    if len({device.type for device in devices}) > 1:
        raise InputError(
            f"'{name}' joins devices of several kinds, and one copy lies on devices of one kind; "
            "name GPUs only",
            key="devices",
        )
    return devices


def layer_map(model: PreTrainedModel, devices: Sequence[torch.device]) -> dict[str, int | str]:
    """A ``device_map``: the parts of ``model`` in their order, in equal shares for ``devices``.

    What has no weights of its own, such as a head that is tied to the embedding, lies on the first.

    Args:
        model: may lie on the meta device.

    Raises:
        InputError: the model does not say which of its modules stay together.
    """
    whole = model._no_split_modules
    if not whole:
        raise InputError(
            f"a {type(model).__name__} cannot be laid on several devices, because it does not say "
            "which of its modules stay together; name one device for each copy",
            key="devices",
        )
    found: dict[str, int | str] = {}
    counted: set[int] = set()
    total = sum(_size(parameter) for parameter in model.parameters())
    before = 0
    for name, module in _blocks(model, whole):
        own = [each for each in module.parameters() if id(each) not in counted]
        size = sum(map(_size, own))
        # By a part's middle; the embedding, which comes first, lies where ids go in.
        middle = (2 * before + size) * len(devices) // (2 * total)
        device = devices[middle if before and own else 0]
        # Numbers, as accelerate calls them, so that it takes the first for the one of the inputs.
        found[name] = device.index if device.type == "cuda" else str(device)
        counted.update(map(id, own))
        before += size
    return found


def _blocks(
    module: torch.nn.Module, whole: Collection[str], prefix: str = ""
) -> Iterator[tuple[str, torch.nn.Module]]:
    """The modules that are laid somewhere as they are, in their order, by name."""
    for name, child in module.named_children():
        if type(child).__name__ in whole or not any(True for _ in child.children()):
            yield prefix + name, child
        else:
            yield from _blocks(child, whole, f"{prefix}{name}.")


def _size(parameter: torch.Tensor) -> int:
    return parameter.numel() * parameter.element_size()


def _there() -> str:
    count = torch.cuda.device_count()
    return "it has cpu" + (f" and cuda:0 to cuda:{count - 1}" if count else " and no CUDA device")
