"""Prompts from anywhere on any split by any model: baselines, and transfer in both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.files import remove_leftovers, write_whole
from prompt_optimization.models.model import Model
from prompt_optimization.models.open import open_models
from prompt_optimization.runs.assemble import decoding_of, template_of
from prompt_optimization.runs.config import all_keys
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.environment import describe, describe_model
from prompt_optimization.runs.evaluation_jobs import (
    EvaluationJob,
    PromptToScore,
    Request,
    gather,
)
from prompt_optimization.runs.naming import metric_label
from prompt_optimization.runs.store.evaluations import FORMAT, evaluation_path, read_evaluation
from prompt_optimization.runs.store.identity import (
    MODEL,
    changed_settings,
    changes,
    check_writable,
    made_differently,
)
from prompt_optimization.runs.store.lock import RunLock
from prompt_optimization.runs.store.outputs import (
    KEY,
    VALUES,
    OutputKey,
    Outputs,
    output_key,
    outputs_path,
)
from prompt_optimization.scoring.finalists import Text
from prompt_optimization.scoring.held_out import (
    HeldOut,
    HeldOutScorer,
    weighted_loss,
    weights_and_groups,
)
from prompt_optimization.scoring.settings import METRICS
from prompt_optimization.tasks.examples import Example
from prompt_optimization.tasks.templates import END

# Rows whose questions are held in memory, and whose outputs are written, together.
BLOCK = 100

# Settings that the file holds besides those in which its outputs agree.
RECORDED = ("max_rows", "chat_template_kwargs")


def evaluate(
    values: Mapping[str, Any], overridden: Set[str], request: Request, display: Display
) -> dict[str, Any]:
    """Evaluate what ``request`` names and return the content of the evaluation's file.

    ``<result_prefix>.outputs.jsonl`` grows by what the model wrote, so that the same command
    continues where it was killed, and another one with the same prefix adds to it;
    ``<result_prefix>.evaluation.json`` holds the accuracies.

    Args:
        values: every setting by its name.
        overridden: the settings that count more than what the logs say.

    Raises:
        InputError: something the user gave cannot be used; finished outputs stay.
    """
    jobs = gather(values, overridden, request)
    first = jobs[0].settings
    prefix = first.run.result_prefix
    path = evaluation_path(prefix)
    check_writable(path)
    with ExitStack() as opened:
        opened.enter_context(RunLock(path))
        remove_leftovers(path)
        for warning in first.warnings:
            display.warn(warning)
        (model,) = opened.enter_context(
            open_models(first.models.models()[:1], first.compute, display.note, display.warn)
        )
        model.executor.progress = lambda done, of: display.activity("evaluate", done, of)
        tables = {f"{job.name} {name}": table for job in jobs for name, table in job.tables.items()}
        environment = describe(model.call_any(describe_model), model.chat, tables, first.run.seed)
        reading = _reading(environment)
        report: dict[str, Any] = {
            "format": FORMAT,
            "kind": "evaluation",
            "status": "running",
            "params": {name: first.params[name] for name in (*reading, *RECORDED)},
            "environment": environment,
            "results": [],
        }
        outputs = Outputs(outputs_path(prefix))
        if outputs.records and not path.exists():
            raise InputError(
                f"'{outputs.path}' holds outputs, but '{path}', which tells what made them, is "
                "gone; bring it back or choose another place",
                key="result_prefix",
            )
        _continue(path, report)
        writer = _Writer(model, outputs)
        results = {_identity(record): record for record in report["results"]}
        for job in jobs:
            display.note(f"{job.name}: {len(job.prompts)} prompts on {len(job.examples)} rows")
            writer.fill(job)
            for record in _results(job, outputs):
                name = record["metric"]
                display.scored(record["prompt"], record[name]["value"], name)
                results[_identity(record)] = record
            report["results"] = list(results.values())
            _write(path, report)
        report["status"] = "finished"
        _write(path, report)
    return report


def _reading(environment: dict[str, Any]) -> list[str]:
    """The settings in which all outputs of one file agree.

    What ``environment`` tells as it turned out to be, such as the precision, is compared there.
    """
    return [name for name, each in all_keys().items() if each.reading and name not in environment]


def _continue(path: Path, report: dict[str, Any]) -> None:
    """Take over the results of an earlier evaluation in the same place.

    Raises:
        InputError: it was made by another model or with other settings.
    """
    if not path.exists():
        _write(path, report)
        return
    before = read_evaluation(path)
    params = {
        name: before["params"].get(name, all_keys()[name].untold)
        for name in _reading(report["environment"])
    }
    different = changes(before["environment"], report["environment"], MODEL)
    different += changed_settings(params, report["params"], set())
    if different:
        what = f"'{path}' holds outputs that were made differently"
        otherwise = "choose another place"
        raise made_differently(what, different, report["environment"], otherwise, "result_prefix")
    report["results"] = before["results"]
    report["environment"]["data"] |= before["environment"]["data"]


@dataclass
class _Writer:
    """Has the model write what a job's outputs lack."""

    model: Model
    outputs: Outputs

    def fill(self, job: EvaluationJob) -> None:
        for start in range(0, len(job.examples), BLOCK):
            block = job.examples[start : start + BLOCK]
            for prompt in job.prompts.values():
                keys = [_key(job, prompt, example) for example in block]
                self._check(keys, block)
                # A block is made whole even when part of it is there: other pools round
                # differently.
                if self.outputs.lacks(keys):
                    records = self._records(job, prompt, block)
                    self.outputs.add([r for r in records if self.outputs.lacks([output_key(r)])])

    def _records(
        self, job: EvaluationJob, prompt: PromptToScore, block: Sequence[Example]
    ) -> Iterator[dict[str, Any]]:
        scorer = HeldOutScorer(
            self.model,
            template_of(job.settings, prompt.template, prompt.connector),
            decoding_of(job.settings),
        )
        try:
            result = scorer.score(Text(prompt.prompt), block)
        except FloatingPointError as error:
            raise InputError(
                f"{error}; try float32, or check the model's weights", key="dtype"
            ) from None
        for i, (example, written) in enumerate(zip(block, result.written, strict=True)):
            yield {
                **dict(zip(KEY, _key(job, prompt, example), strict=True)),
                **dict.fromkeys(VALUES),
                **written,
                **{metric: bool(hits[i]) for metric, hits in result.hits.items()},
            }

    def _check(self, keys: Sequence[OutputKey], block: Sequence[Example]) -> None:
        for key, example in zip(keys, block, strict=True):
            known = self.outputs.records.get(key)
            if known and (known["question"], _references(known)) != (
                example.question,
                example.references,
            ):
                raise InputError(
                    f"row {example.row} of task '{key[0]}' is another one in "
                    f"'{self.outputs.path}'; choose another place",
                    key="result_prefix",
                )


def _references(record: Mapping[str, Any]) -> tuple[str, ...]:
    """All references of an output; a single one stands alone."""
    return tuple(record.get("references", [record["reference"]]))


def _key(job: EvaluationJob, prompt: PromptToScore, example: Example) -> OutputKey:
    extractor = job.settings.task.extractor_text
    place = (extractor, prompt.template, prompt.connector)
    return (job.name, job.split, example.row, *place, prompt.prompt)


def _results(job: EvaluationJob, outputs: Outputs) -> Iterator[dict[str, Any]]:
    """One record for everything that named a prompt.

    Raises:
        InputError: see ``Metric.value``.
    """
    metric = job.settings.metric
    for prompt in job.prompts.values():
        records = [outputs.records[_key(job, prompt, example)] for example in job.examples]
        hits = {
            name: [float(record[name]) for record in records]
            for name in METRICS
            if records[0][name] is not None
        }
        hits[metric.name] = [
            metric.value(record["answer"], example)
            for record, example in zip(records, job.examples, strict=True)
        ]
        result = HeldOut(
            prompt.prompt,
            hits,
            weighted_loss([record["loss"] for record in records], job.examples),
            metric=metric.name,
            **weights_and_groups(job.examples),
        )
        for origin in prompt.origins:
            yield {
                "task": job.name,
                "split": job.split,
                "rows": [example.row for example in job.examples],
                "extractor": job.settings.task.extractor_text,
                "template": prompt.template,
                "connector": prompt.connector,
                "origin": origin,
                "read_by": metric_label(job.settings.params),
                **result.record(),
            }


def _identity(record: dict[str, Any]) -> str:
    """Two results with the same one say the same; the later one counts."""
    names = ("task", "split", "rows", "extractor", "connector", "prompt")
    metric = record.get("read_by", "strict")
    # Not what an origin tells of its run: later versions may tell more.
    named_by = ("kind", "name", "log", "run", "prompt")
    return json.dumps(
        [
            # Results from before there were templates do not say.
            record.get("template", END),
            *(record[name] for name in names),
            *(record["origin"].get(name) for name in named_by),
            metric,
        ]
    )


def _write(path: Path, report: dict[str, Any]) -> None:
    text = json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1, default=str)
    write_whole(path, text.encode(), "result_prefix")
