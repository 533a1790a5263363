"""A run's prompt as a version in MLflow's registry, and its figures as a run."""

from __future__ import annotations

from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.report.export.rows import plain_name
from prompt_optimization.report.found import Found
from prompt_optimization.report.verdict import verdict_of
from prompt_optimization.runs.naming import metric_label, task_name
from prompt_optimization.runs.store.log import method_of, run_id
from prompt_optimization.runs.trackers import TAG


def register(run: Found, uri: str) -> str:
    """Register the prompt and log the figures; what was made, in words.

    A run that was exported before is written again; the registry keeps a version more.

    Args:
        uri: of the tracking server or store; MLflow's own setting when empty.

    Raises:
        InputError: MLflow is missing, or the server refuses.
    """
    require_package("an export to MLflow", "mlflow", "mlflow", key="to")
    import mlflow
    from mlflow.exceptions import MlflowException

    name, verdict = task_name(run.log["params"]["train_data"]), verdict_of(run.log)
    chat = [{**turn, "content": turn["content"].replace("{question}", "{{question}}")}
            for turn in run.messages(run.chosen)]  # fmt: skip
    try:
        if uri:
            mlflow.set_tracking_uri(uri)
        prompt = mlflow.genai.register_prompt(
            name=name, template=chat, commit_message=verdict.sentence,
            tags={TAG: run_id(run.log), "model": run.log["environment"]["model"]},
        )  # fmt: skip
        found = mlflow.search_runs(
            filter_string=f"tags.`{TAG}` = '{run_id(run.log)}'", output_format="list"
        )
        known = found[0].info.run_id if found else None
        with mlflow.start_run(run_id=known, run_name=plain_name(run)):
            mlflow.set_tags({TAG: run_id(run.log), "prompt": f"{name}/{prompt.version}"})
            mlflow.log_params(_params(run) if known is None else {})
            mlflow.log_metrics(_figures(run))
    except (MlflowException, OSError) as error:
        problem = str(error).strip().partition("\n")[0]
        raise InputError(
            f"MLflow does not take the run ({problem}); give the address of a server or a store",
            key="out",
        ) from None
    return f"prompt {name}, version {prompt.version}, in {mlflow.get_tracking_uri()}"


def _params(run: Found) -> dict[str, Any]:
    log = run.log
    return {
        "method": method_of(log),
        "model": log["environment"]["model"],
        "metric": metric_label(log["params"]),
        "seed": log["environment"]["seed"],
        "steps": len(log["steps"]),
    }


def _figures(run: Found) -> dict[str, float]:
    verdict = verdict_of(run.log)
    found = {"objective": float(run.log["best"][0]["objective"])}
    for name in ("initial", "found", "gain"):
        if (figure := getattr(verdict, name)) is not None:
            found |= {name: figure[0], f"{name}_low": figure[1], f"{name}_high": figure[2]}
    return found
