"""Where a run stands, in one safetensors file beside its log.

Numbers go in as tensors, to the last bit; no pickle, so reading one runs no code. Header fields
hold the rest as JSON. Outcomes, scored prompts and tensors may stand anywhere in the state: each is
written once and named by number. The file exists as long as its run is unfinished. Its size is
bounded: the scorer's memory is, and everything else is small.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from prompt_optimization.errors import InputError, require
from prompt_optimization.files import write_whole
from prompt_optimization.models.engine import Outcome
from prompt_optimization.runs.store.log import PLACE
from prompt_optimization.scoring.scorer import Scored

FORMAT = 3


@dataclass
class Checkpoint:
    """A run between two pieces of work.

    Attributes:
        run: names the run; the log's first session holds the same.
        session: number of the log's session that wrote it.
        search: the state of optimizer, scorer and generator.
        held_out: the state of the held-out scoring.
    """

    run: str
    session: int
    search: dict[str, Any]
    held_out: dict[str, Any] = field(default_factory=dict)


def checkpoint_path(log: Path) -> Path:
    return log.with_name(f"{log.name}.checkpoint")


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` whole.

    Raises:
        InputError: it cannot be written; the one before it stays.
    """
    writer = _Writer()
    values = {
        "run": checkpoint.run,
        "session": checkpoint.session,
        "search": writer.encode(checkpoint.search),
        "held_out": writer.encode(checkpoint.held_out),
        "answers": [outcome.answer for outcome in writer.outcomes],
    }
    metadata = {"format": str(FORMAT), "values": json.dumps(values, allow_nan=False)}
    write_whole(path, save(writer.tensors(), metadata), PLACE)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: there is none, it is damaged, or another version of this project wrote it.
    """
    fix = (
        "the finished steps are still in the log, but the run cannot be continued; start a new one"
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
        reader = _Reader(tensors, values["answers"])
        return Checkpoint(
            values["run"],
            values["session"],
            reader.decode(values["search"]),
            reader.decode(values["held_out"]),
        )
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"checkpoint '{path}' is missing: {fix}", key="resume") from None
    except (SafetensorError, OSError, LookupError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"checkpoint '{path}' is damaged ({reason}): {fix}", key="resume"
        ) from None


class _Writer:
    """Turns a state into JSON values, and collects what is not JSON."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._numbers: dict[int, int] = {}
        self._tensors: list[torch.Tensor] = []

    def encode(self, value: Any) -> Any:
        if isinstance(value, Outcome):
            return {"~outcome": self._number(value)}
        if isinstance(value, Scored):
            fields = {name: getattr(value, name) for name in _SCORED}
            return {"~scored": fields | {"outcomes": [self._number(o) for o in value.outcomes]}}
        if isinstance(value, torch.Tensor):
            self._tensors.append(value.detach().cpu().contiguous())
            return {"~tensor": len(self._tensors) - 1}
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value), "keys of a state are texts"
            return {key: self.encode(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.encode(item) for item in value]
        return value

    def tensors(self) -> dict[str, torch.Tensor]:
        lengths = [len(outcome.reasoning) for outcome in self.outcomes]
        tokens = [token for outcome in self.outcomes for token in outcome.reasoning]
        losses = [outcome.loss for outcome in self.outcomes]
        nlls = [outcome.nll for outcome in self.outcomes]
        mistakes = [outcome.mistake for outcome in self.outcomes]
        margins = [outcome.margin for outcome in self.outcomes]
        return {
            "loss": torch.tensor(losses, dtype=torch.float64),
            "nll": torch.tensor(nlls, dtype=torch.float64),
            "mistake": torch.tensor(mistakes, dtype=torch.bool),
            "margin": torch.tensor(margins, dtype=torch.float64),
            "length": torch.tensor(lengths, dtype=torch.int64),
            "reasoning": torch.tensor(tokens, dtype=torch.int32),
            **{f"state.{i}": tensor for i, tensor in enumerate(self._tensors)},
        }

    def _number(self, outcome: Outcome) -> int:
        number = self._numbers.get(id(outcome))
        if number is None:
            number = self._numbers[id(outcome)] = len(self.outcomes)
            self.outcomes.append(outcome)
        return number


_SCORED = ("text", "objective", "loss", "mistakes", "nll", "wrong", "capped", "tie")


class _Reader:
    """The way back."""

    def __init__(self, tensors: dict[str, torch.Tensor], answers: list[str | None]) -> None:
        self._tensors = tensors
        tokens: list[int] = tensors["reasoning"].tolist()
        ends = tensors["length"].cumsum(0).tolist()
        require(sum(tensors["length"].tolist()) == len(tokens))
        # Came with rewards.
        margins = tensors.get("margin", torch.zeros_like(tensors["loss"]))
        self._outcomes = [
            Outcome(tuple(tokens[start:end]), loss, mistake, nll, answer, margin)
            for start, end, loss, mistake, nll, answer, margin in zip(
                [0, *ends[:-1]],
                ends,
                tensors["loss"].tolist(),
                tensors["mistake"].tolist(),
                tensors["nll"].tolist(),
                answers,
                margins.tolist(),
                strict=True,
            )
        ]

    def decode(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "~outcome" in value:
            return self._outcomes[value["~outcome"]]
        if "~tensor" in value:
            return self._tensors[f"state.{value['~tensor']}"]
        if "~scored" in value:
            fields = value["~scored"]
            outcomes = tuple(self._outcomes[i] for i in fields["outcomes"])
            return Scored(**(fields | {"outcomes": outcomes}))
        return {key: self.decode(item) for key, item in value.items()}
