"""The settings of a run as such: method, seed, files, and what is kept and shown."""

from __future__ import annotations

from dataclasses import dataclass

from prompt_optimization.keys import Settings, key
from prompt_optimization.optimizers.registry import DEFAULT
from prompt_optimization.runs.trackers import TRACKERS, check_tracker

# Keys that a comparison sets for all of its runs.
SET_BY_COMPARISON = ("max_evaluations", "max_work", "resume", "logfile")


@dataclass(frozen=True)
class RunSettings(Settings, group="run"):
    """How a run is carried out, whatever its method."""

    method: str = key(
        DEFAULT,
        "the optimizer: a folder of prompt_optimization/optimizers",
        flat="method",
        variant=False,
        spellings={"gpo_shift": "robust"},  # GPO is another method too.
    )
    seed: int = key(0, "seed of the search's only random generator", flat="seed", variant=False)
    top_prompts: int = key(
        10,
        "best prompts that are kept and scored on dev after the search",
        flat="top_prompts",
        low=1,
        source="code",
    )
    test_steps: int = key(
        0,
        "score the incumbent on dev every this many steps; 0: never",
        flat="test_steps",
        low=0,
        variant=False,
    )
    resume: str = key(
        "no",
        "no: start a new run; True: continue the unfinished run of this result_prefix or logfile; "
        "auto: continue it where there is one, else start one, and leave a finished run alone; "
        "force: continue although settings, data or model have changed",
        flat="resume",
        choices=("no", "True", "auto", "force"),
        free=True,
        variant=False,
    )
    result_prefix: str = key(
        "results/run",
        "the log is RESULT_PREFIX_DATE-TIME.json",
        flat="result_prefix",
        library="resume",
        free=True,
        variant=False,
    )
    logfile: str = key(
        "", "the log, exactly", flat="logfile", library="resume", free=True, variant=False
    )
    track: str = key(
        "",
        "send the run to a tracker while it lasts: trackio, wandb, tensorboard or mlflow; empty: "
        "to none",
        flat="track",
        choices=("", *TRACKERS),
        free=True,
        variant=False,
    )
    verbose: bool = key(True, "show more than the result", flat="verbose", free=True, variant=False)

    def check(self) -> None:
        if self.track:
            check_tracker(self.track, "track")


@dataclass(frozen=True)
class IgnoredSettings(Settings, group="ignored"):
    """Keys that existing commands set and nothing here depends on."""

    attack: str = key("gcg", "only gcg exists", flat="attack", choices=("gcg",))
    batch_size: int = key(
        512, "candidates come from the intersection of proposals", flat="batch_size"
    )
    temp: float = key(1.0, "candidates are not sampled", flat="temp")
    lr: float = key(0.01, "nothing is trained", flat="lr")
    gbda_deterministic: bool = key(
        True, "the GBDA attack is not part of this project", flat="gbda_deterministic"
    )
    incr_control: bool = key(False, "control_weight stays as given", flat="incr_control")
    filter_cand: bool = key(
        True, "a prompt that its own text does not mean is always dropped", flat="filter_cand"
    )

    @property
    def warnings(self) -> list[str]:
        return [
            f"{each.name} has no effect: {each.meaning}"
            for each in self.rows()
            if getattr(self, each.attribute) != each.default
        ]
