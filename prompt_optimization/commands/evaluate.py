"""Score prompts on a task's split with any model.

A log brings its task, rows and initial prompt along; model, template and token limits are the
config's. The same command goes on where it was killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from prompt_optimization.commands.flags import CONFIG, execute
from prompt_optimization.configs.template import get_config as template_config
from prompt_optimization.runs.contenders import BASELINES, Request
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.evaluate import evaluate, evaluation_path
from prompt_optimization.tasks.examples import SPLITS

LOGS = flags.DEFINE_multi_string(
    "log", [], "A run's log, or a folder of them; the prompt that was chosen on dev counts."
)
PROMPTS = flags.DEFINE_multi_string(
    "prompt", [], "A prompt's text, as it stands behind the connector ('. Use' by default)."
)
BASELINE = flags.DEFINE_multi_enum(
    "baseline", [], BASELINES, "The task's initial prompt, or the plain step-by-step sentence."
)
SPLIT = flags.DEFINE_enum("split", "test", SPLITS, "Which of the task's rows.")
ALL_BEST = flags.DEFINE_bool("all_best", False, "Every best prompt of a log.")


def main(arguments: Sequence[str], program: str) -> int:
    return execute(score, arguments, program, __doc__ or "")


def score(_: Sequence[str]) -> None:
    config = CONFIG.value
    display = Display(config.verbose)
    request = Request(
        logs=tuple(Path(log).expanduser() for log in LOGS.value),
        prompts=tuple(PROMPTS.value),
        baselines=tuple(BASELINE.value),
        split=SPLIT.value,
        all_best=ALL_BEST.value,
    )
    overridden = set(config_flags.get_override_values(flags.FLAGS["config"]))
    report = evaluate(config, template_config(), overridden, request, display)
    display.results(report["results"], evaluation_path(config.result_prefix))
