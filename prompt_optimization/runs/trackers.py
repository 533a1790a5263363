"""Trackers that show runs beside each other, with one interface."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from prompt_optimization.extras import require_package

# What all runs of this project stand under, where a tracker has projects.
PROJECT = "greater"

# The tag by which MLflow's runs are found again.
TAG = "greater.run"


@dataclass(frozen=True)
class Head:
    """What a tracker knows of a run from its beginning.

    Attributes:
        name: what it is called.
        id: the log's, which names it among all runs.
        folder: of its log.
        config: its settings, and where it comes from.
    """

    name: str
    id: str
    folder: Path
    config: Mapping[str, Any]


class Tracker(Protocol):
    """Shows one run after the other. Every method may fail."""

    def open(self, run: Head) -> None:
        """Begin ``run``; what is there of it from before is replaced."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Figures of a step."""

    def close(self, prompts: Sequence[Mapping[str, Any]]) -> None:
        """The run sends no more for now.

        Args:
            prompts: what was tried, a row a prompt.
        """


class Trackio:
    """A folder on this machine: ``trackio show`` opens its page."""

    def __init__(self) -> None:
        self._trackio = import_module("trackio")

    def open(self, run: Head) -> None:
        name = f"{run.name}-{run.id[:8]}"
        with _quiet():
            for known in self._runs():
                if known.name == name:
                    known.delete()
            self._trackio.init(
                project=PROJECT, name=name, config={**run.config, "run": run.id}, embed=False,
                auto_log_gpu=False, auto_log_cpu=False,
            )  # fmt: skip

    def _runs(self) -> list[Any]:
        try:
            return list(self._trackio.Api().runs(PROJECT))
        except ValueError:
            return []  # the first run of all

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._trackio.log(dict(figures), step=step)

    def close(self, prompts: Sequence[Mapping[str, Any]]) -> None:
        pandas = import_module("pandas")
        with _quiet():
            if prompts:
                table = self._trackio.Table(dataframe=pandas.DataFrame(prompts))
                self._trackio.log({"prompts": table}, step=int(prompts[-1]["step"]))
            self._trackio.finish()


class Wandb:
    """Weights & Biases, as its own environment variables set it up."""

    def __init__(self) -> None:
        self._wandb = import_module("wandb")

    def open(self, run: Head) -> None:
        # A step that is made again after a resume is sent again: the axis is a figure of its own,
        # because wandb's steps only grow.
        self._run = self._wandb.init(
            project=PROJECT, name=run.name, id=run.id, resume="allow", config=dict(run.config)
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, figures: Mapping[str, float], step: int) -> None:
        self._run.log({**figures, "step": step})

    def close(self, prompts: Sequence[Mapping[str, Any]]) -> None:
        if prompts:
            rows = [list(each.values()) for each in prompts]
            self._run.log({"prompts": self._wandb.Table(columns=list(prompts[0]), data=rows)})
        self._run.finish()


class Tensorboard:
    """Event files below the log's folder: ``tensorboard --logdir=FOLDER/tensorboard``."""

    def __init__(self) -> None:
        self._writers = import_module("torch.utils.tensorboard")

    def open(self, run: Head) -> None:
        folder = run.folder / "tensorboard" / run.name
        for events in folder.glob("events.out.tfevents.*") if folder.is_dir() else ():
            events.unlink()
        self._writer = self._writers.SummaryWriter(str(folder))
        told = {**run.config, "run": run.id}.items()
        self._writer.add_text("settings", "\n".join(f"    {key}: {value}" for key, value in told))

    def log(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, prompts: Sequence[Mapping[str, Any]]) -> None:
        for each in prompts:
            if each["accepted"]:
                self._writer.add_text("prompt", f"    {each['prompt']}", int(each["step"]))
        self._writer.close()


class Mlflow:
    """An MLflow server or store, as its own environment variables name it."""

    def __init__(self) -> None:
        self._mlflow = import_module("mlflow")

    def open(self, run: Head) -> None:
        self._client = self._mlflow.MlflowClient()
        experiment = self._mlflow.set_experiment(PROJECT).experiment_id
        for known in self._client.search_runs([experiment], f"tags.`{TAG}` = '{run.id}'"):
            self._client.delete_run(known.info.run_id)
        made = self._client.create_run(experiment, tags={TAG: run.id}, run_name=run.name)
        self._run = made.info.run_id
        for key, value in run.config.items():
            self._client.log_param(self._run, key, str(value)[:500])

    def log(self, figures: Mapping[str, float], step: int) -> None:
        for name, value in figures.items():
            self._client.log_metric(self._run, name.replace(" ", "_"), value, step=step)

    def close(self, prompts: Sequence[Mapping[str, Any]]) -> None:
        if prompts:
            columns = {key: [each[key] for each in prompts] for key in prompts[0]}
            self._client.log_table(self._run, columns, "prompts.json")
        self._client.set_terminated(self._run)


# Each with the packages that it needs beside its own.
TRACKERS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "trackio": (Trackio, ("trackio", "pandas")),
    "wandb": (Wandb, ("wandb",)),
    "tensorboard": (Tensorboard, ("tensorboard",)),
    "mlflow": (Mlflow, ("mlflow", "pandas")),
}


def check_tracker(name: str, key: str) -> None:
    """Refuse a tracker that is not installed.

    Args:
        key: the setting that names it.

    Raises:
        InputError: a package is missing.
    """
    # Only those that are tried come with the extra.
    extra = {"trackio": "track", "tensorboard": "track"}.get(name, name)
    require_package(f"the tracker '{name}'", extra, *TRACKERS[name][1], key=key)


@contextlib.contextmanager
def _quiet() -> Any:
    """Without what a tracker says on the screen, which is the run's."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
