"""Where a run stands, beside its log: one safetensors file, replaced as a whole after every step.

Its tensors hold the outcomes (losses, mistakes, reasonings end to end); its metadata hold the rest
as JSON. It exists as long as its run is unfinished. Its size is bounded: the memory of evaluations
is, and everything else is small.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from prompt_optimization.errors import InputError
from prompt_optimization.files import write_whole
from prompt_optimization.models.engine import Outcome
from prompt_optimization.optimizers.greater.snapshot import Snapshot
from prompt_optimization.runs.evaluation import HeldOut

FORMAT = 2


@dataclass
class Checkpoint:
    """A run between two pieces of work.

    Attributes:
        search: where the search stands.
        held_out: results of the held-out evaluation so far, by split.
        run: names the run; the log's first session holds the same.
    """

    run: str
    search: Snapshot
    held_out: dict[str, list[HeldOut]] = field(default_factory=dict)


def checkpoint_path(log: Path) -> Path:
    return log.with_name(f"{log.name}.checkpoint")


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` whole.

    Raises:
        InputError: it cannot be written; the one before it stays.
    """
    outcomes = checkpoint.search.outcomes
    lengths = [len(outcome.reasoning) for outcome in outcomes]
    tensors = {
        "loss": torch.tensor([outcome.loss for outcome in outcomes], dtype=torch.float64),
        "nll": torch.tensor([outcome.nll for outcome in outcomes], dtype=torch.float64),
        "mistake": torch.tensor([outcome.mistake for outcome in outcomes], dtype=torch.bool),
        "length": torch.tensor(lengths, dtype=torch.int64),
        "reasoning": torch.tensor(
            [token for outcome in outcomes for token in outcome.reasoning], dtype=torch.int32
        ),
    }
    values = {
        "search": checkpoint.search.values,
        "held_out": {
            split: [asdict(result) for result in results]
            for split, results in checkpoint.held_out.items()
        },
        "run": checkpoint.run,
    }
    metadata = {"format": str(FORMAT), "values": json.dumps(values, allow_nan=False)}
    write_whole(path, save(tensors, metadata))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: there is none, it is damaged, or a newer version of this project wrote it.
    """
    damaged = (
        "the finished steps are still in the log, but the run cannot go on; start it anew with "
        "--config.resume=no"
    )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            number = int(metadata["format"])
            if number != FORMAT:
                raise InputError(
                    f"checkpoint '{path}' has format {number} and this version reads {FORMAT}; "
                    "resume with the version that wrote it"
                    + (", or a newer one" if number > FORMAT else "")
                )
            values: dict[str, Any] = json.loads(metadata["values"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _checkpoint(values, tensors)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"checkpoint '{path}' is missing: {damaged}") from None
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"checkpoint '{path}' is damaged ({reason}): {damaged}") from None


def _checkpoint(values: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Checkpoint:
    tokens: list[int] = tensors["reasoning"].tolist()
    ends = tensors["length"].cumsum(0).tolist()
    outcomes = [
        Outcome(tuple(tokens[start:end]), loss, mistake, nll)
        for start, end, loss, mistake, nll in zip(
            [0, *ends[:-1]],
            ends,
            tensors["loss"].tolist(),
            tensors["mistake"].tolist(),
            tensors["nll"].tolist(),
            strict=True,
        )
    ]
    return Checkpoint(
        search=Snapshot(values["search"], outcomes),
        held_out={
            split: [HeldOut(**result) for result in results]
            for split, results in values["held_out"].items()
        },
        run=values["run"],
    )
