"""Score prompts on a task's split with any model.

A log brings its task, rows and initial prompt along; model, template and token limits are the
config's. The same command continues where it was killed.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from prompt_optimization.commands.flags import CONFIG, execute
from prompt_optimization.paths import user_path
from prompt_optimization.runs.config import values_of
from prompt_optimization.runs.evaluation_jobs import BASELINES, Request
from prompt_optimization.runs.store.evaluations import evaluation_path
from prompt_optimization.tasks.examples import SPLITS

LOGS = flags.DEFINE_multi_string(
    "log", [], "A run's log, or a folder of them; the prompt that was chosen on dev counts."
)
PROMPTS = flags.DEFINE_multi_string(
    "prompt", [], "A prompt's text, as it stands after the connector ('. Use' by default)."
)
BASELINE = flags.DEFINE_multi_enum(
    "baseline", [], BASELINES, "The task's initial prompt, or the plain step-by-step sentence."
)
SPLIT = flags.DEFINE_enum("split", "test", SPLITS, "Which of the task's rows.")
ALL_BEST = flags.DEFINE_bool("all_best", False, "Every best prompt of a log.")


def main(arguments: Sequence[str], program: str) -> int:
    return execute(score, arguments, program, __doc__ or "")  # python -OO removes the text


def score(_: Sequence[str]) -> None:
    values = values_of(CONFIG.value)
    overridden = set(config_flags.get_override_values(flags.FLAGS["config"]))
    request = Request(
        logs=tuple(map(user_path, LOGS.value)),
        prompts=tuple(PROMPTS.value),
        baselines=tuple(BASELINE.value),
        split=SPLIT.value,
        all_best=ALL_BEST.value,
    )
    # Only now, because this loads torch.
    from prompt_optimization.runs.display import Display
    from prompt_optimization.runs.evaluate import evaluate

    display = Display(values["verbose"])
    try:
        report = evaluate(values, overridden, request, display)
        display.results(report["results"], evaluation_path(values["result_prefix"]))
    finally:
        display.close()
