"""Where a result comes from: versions, machine, code revision, hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import PreTrainedTokenizerBase

from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.memory import pool_bytes
from prompt_optimization.models.model import Model
from prompt_optimization.models.placement import JOINT
from prompt_optimization.models.worker import Worker
from prompt_optimization.models.writers import LocalWriter, Writer
from prompt_optimization.paths import checkout
from prompt_optimization.tasks.examples import Example, Table
from prompt_optimization.tasks.official import is_official
from prompt_optimization.tasks.templates import END

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "ml_collections")
EXTRA_PACKAGES = ("fschat",)  # where they are installed


def describe(
    model: dict[str, Any], chat: ChatFormat, tables: dict[str, Table], seed: int
) -> dict[str, Any]:
    """Everything a reader needs to judge or repeat a run.

    Args:
        model: as ``describe_model`` returns it.
    """
    return {
        "python": platform.python_version(),
        "packages": _versions(),
        "platform": platform.platform(),
        **model,
        "seed": seed,
        "git_revision": _git_revision(),
        "chat_template": {
            "name": chat.name,
            "sha256": chat.sha256,
            "before": chat.prefix,
            "after": chat.suffix,
            **({"dated": True} if chat.dated else {}),
        },
        "data": {
            name: {
                "file": str(table.path),
                "sha256": table.sha256,
                "rows": len(table.examples),
                "official": is_official(table.path, table.sha256),
                **({"commit": table.commit} if table.commit else {}),
            }
            for name, table in tables.items()
        },
    }


def describe_run(
    models: Sequence[Model],
    tables: dict[str, Table],
    rows: Mapping[str, Sequence[Example]],
    seed: int,
    writers: Mapping[str, Writer] | None = None,
) -> dict[str, Any]:
    """The environment of a run on ``rows`` by split, with its ``writers`` by role. A judge that is
    the writer is not described twice."""
    own = dict(writers or {})
    if own.get("judge") is own.get("writer"):
        own.pop("judge", None)
    described = [model.call_any(describe_model) for model in models]
    others = [_in_short(each, model) for each, model in zip(described[1:], models[1:], strict=True)]
    found = describe(described[0], models[0].chat, tables, seed)
    layout = models[0].training.layout
    if layout.template != END:
        # What stands around the two slots.
        found["chat_template"]["pieces"] = list(layout.frame.pieces)
    return found | {
        "other_models": others,
        "rows": {split: [example.row for example in some] for split, some in rows.items()},
        **{role: _describe_writer(each, models) for role, each in own.items()},
    }


def _describe_writer(writer: Writer, models: Sequence[Model]) -> dict[str, Any]:
    """What its replies depend on; of a server, and of a model described already, the name."""
    if not isinstance(writer, LocalWriter) or writer.model in models:
        return {"model": writer.name}
    return _in_short(writer.model.call_any(describe_model), writer.model)


def _in_short(described: dict[str, Any], model: Model) -> dict[str, Any]:
    return {
        key: described[key] for key in ("model", "weights", "tokenizer", "dtype", "stop_ids")
    } | {"chat_template": model.chat.sha256}


def describe_model(worker: Worker) -> dict[str, Any]:
    """A worker's job: what its results depend on."""
    model = worker.model
    return {
        "device": JOINT.join(map(str, model.devices)),
        "device_name": JOINT.join(torch.cuda.get_device_name(each) for each in model.devices)
        if model.device.type == "cuda"
        else f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        # What rows side by side may take, in bytes.
        "pool_bytes": {str(device): pool_bytes(device) for device in model.devices},
        "dtype": str(model.model.dtype).removeprefix("torch."),
        "attention": model.model.config._attn_implementation,
        "model": model.name,
        "weights": _fingerprint(model.model),
        "tokenizer": _tokenizer_hash(model.tokenizer),
        "stop_ids": sorted(model.stop_ids),
        "context": model.context,
    }


def _fingerprint(model: torch.nn.Module) -> str:
    """A hash of all parameters: their bits, summed up as integers, one sum a tensor."""
    digest = hashlib.sha256()
    for name, parameter in sorted(_plain_tensors(model.state_dict())):
        # Views of the same width; what has no such integer type is taken byte by byte.
        width = {2: torch.int16, 4: torch.int32, 8: torch.int64}.get(parameter.element_size())
        bits = parameter.detach().contiguous().view(width or torch.uint8).flatten()
        # In pieces, because a sum in another type first copies what it adds.
        total = sum(map(_sum, bits.split(2**24)))
        digest.update(f"{name} {tuple(parameter.shape)} {total};".encode())
    return digest.hexdigest()


def _sum(bits: torch.Tensor) -> int:
    # On a CPU numpy adds integers twelve times as fast as torch does.
    if bits.device.type == "cpu":
        return int(bits.numpy().sum(dtype=np.int64))
    return int(bits.sum(dtype=torch.int64))


def _plain_tensors(tensors: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """``tensors``, with the parts of those that are made of several, as quantised ones are."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        if is_traceable_wrapper_subclass(tensor):
            parts, _ = tensor.__tensor_flatten__()
            yield from _plain_tensors({f"{name}.{part}": getattr(tensor, part) for part in parts})
        else:
            yield name, tensor


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of how texts become ids. The chat template has a hash of its own."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    # Whoever calls a tokenizer leaves these behind.
    del rules["truncation"], rules["padding"]
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    found = {package: version(package) for package in PACKAGES}
    for package in EXTRA_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _git_revision() -> str | None:
    """The commit of this code, with ``+changes`` when it was edited; None outside a checkout."""
    folder = checkout()
    # An environment within somebody else's repository would tell that one's commit.
    if folder is None:
        return None
    try:
        revision = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return revision.stdout.strip() or None
