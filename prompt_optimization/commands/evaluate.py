"""Score prompts on a task's split with any model.

A log brings its task, rows, template and initial prompt along; the model, its chat template and
the token limits are the config's. The same command continues where it was killed.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from prompt_optimization.commands.flags import execute, settings, typed
from prompt_optimization.garbage import uncollected
from prompt_optimization.paths import user_path
from prompt_optimization.runs.evaluation_jobs import BASELINES, Request
from prompt_optimization.runs.store.evaluations import evaluation_path
from prompt_optimization.tasks.examples import SPLITS
from prompt_optimization.tasks.texts import of_one_line

LOGS = flags.DEFINE_multi_string(
    "log", [], "A run's log, or a folder of them; the prompt that was chosen on dev counts."
)
PROMPTS = flags.DEFINE_multi_string(
    "prompt",
    [],
    "A prompt's text, as it stands after the connector ('. Use' by default) or elsewhere in the "
    "template; \\n is a line break.",
)
BASELINE = flags.DEFINE_multi_enum(
    "baseline", [], BASELINES, "The task's initial prompt, or the plain step-by-step sentence."
)
SPLIT = flags.DEFINE_enum("split", "test", SPLITS, "Which of the task's rows.")
ALL_BEST = flags.DEFINE_bool("all_best", False, "Every best prompt of a log.")


# A prompt here is one to score.
SHORT = ("model", "data", "extractor")


def main(arguments: Sequence[str], program: str) -> int:
    about = __doc__ or ""  # which python -OO removes
    return execute(score, arguments, program, about, short=SHORT)


def score(_: Sequence[str]) -> None:
    values, notes = settings("evaluate")
    request = Request(
        logs=tuple(map(user_path, LOGS.value)),
        prompts=tuple(map(of_one_line, PROMPTS.value)),
        baselines=tuple(BASELINE.value),
        split=SPLIT.value,
        all_best=ALL_BEST.value,
    )
    # Only now, because this loads torch.
    with uncollected():
        from prompt_optimization.runs.display import Display
        from prompt_optimization.runs.evaluate import evaluate

    display = Display(values["verbose"])
    try:
        for note in notes:
            display.note(note)
        report = evaluate(values, typed(), request, display)
        display.results(report["results"], evaluation_path(values["result_prefix"]))
    finally:
        display.close()
