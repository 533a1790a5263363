"""Prompts from anywhere on any split by any model: baselines, and transfer in both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from prompt_optimization.errors import InputError
from prompt_optimization.files import remove_leftovers, write_whole
from prompt_optimization.models.team import Team
from prompt_optimization.runs.contenders import Contender, Job, Request, gather
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.environment import describe, describe_model
from prompt_optimization.runs.evaluation import METRICS, HeldOut, held_out, written
from prompt_optimization.runs.lock import RunLock
from prompt_optimization.runs.outputs import KEY, Key, Outputs, output_key
from prompt_optimization.runs.resume import MODEL, changes
from prompt_optimization.runs.settings import check_writable
from prompt_optimization.runs.teams import open_teams
from prompt_optimization.tasks.examples import Example

FORMAT = 1

# What every result holds besides its metrics.
RESULT = {"task", "split", "rows", "origin", "connector", "extractor", "prompt", "hits"}

# Rows whose questions are held in memory, and whose outputs are written, together.
BLOCK = 100

# Settings under which all outputs of one file were made, besides the model.
DECODING = ("max_new_tokens", "answer_tokens", "extractor_separator")


def evaluation_path(prefix: str) -> Path:
    return Path(f"{prefix}.evaluation.json").expanduser()


def outputs_path(prefix: str) -> Path:
    return Path(f"{prefix}.outputs.jsonl").expanduser()


def evaluate(
    config: ConfigDict,
    defaults: ConfigDict,
    overridden: set[str],
    request: Request,
    display: Display,
) -> dict[str, Any]:
    """Evaluate what ``request`` names and return the content of the evaluation's file.

    ``<result_prefix>.outputs.jsonl`` grows by what the model wrote, so that the same command goes
    on where it was killed, and another one with the same prefix adds to it;
    ``<result_prefix>.evaluation.json`` holds the accuracies.

    Args:
        overridden: config keys that count more than what the logs say.

    Raises:
        InputError: something the user gave cannot be used; finished outputs stay.
    """
    jobs = gather(config, defaults, overridden, request)
    first = jobs[0].settings
    path = evaluation_path(first.params["result_prefix"])
    check_writable(path)
    with ExitStack() as locks:
        locks.enter_context(RunLock(path))
        remove_leftovers(path)
        for warning in first.warnings:
            display.warn(warning)
        (team,) = locks.enter_context(open_teams(first.models[:1], first.workers, display))
        tables = {f"{job.name} {name}": table for job in jobs for name, table in job.tables.items()}
        report: dict[str, Any] = {
            "format": FORMAT,
            "kind": "evaluation",
            "status": "running",
            "params": {key: first.params[key] for key in (*DECODING, "max_rows")},
            "environment": describe(
                team.ask_one(describe_model), team.chat, tables, first.params["seed"]
            ),
            "results": [],
        }
        outputs = Outputs(outputs_path(first.params["result_prefix"]))
        if outputs.records and not path.exists():
            raise InputError(
                f"'{outputs.path}' holds outputs, but '{path}', which tells what made them, is "
                "gone; bring it back or choose another --config.result_prefix"
            )
        _continue(path, report)
        writer = _Writer(team, outputs)
        results = {_identity(record): record for record in report["results"]}
        for job in jobs:
            display.note(f"{job.name}: {len(job.contenders)} prompts on {len(job.examples)} rows")
            writer.fill(job)
            for record in _results(job, outputs):
                display.evaluated_text(record["prompt"], record["strict"]["value"])
                results[_identity(record)] = record
            report["results"] = list(results.values())
            write_whole(path, _json(report))
        report["status"] = "finished"
        write_whole(path, _json(report))
    return report


def _continue(path: Path, report: dict[str, Any]) -> None:
    """Take over the results of an earlier evaluation in the same place.

    Raises:
        InputError: it was made by another model or with other settings.
    """
    if not path.exists():
        write_whole(path, _json(report))
        return
    before = read_evaluation(path)
    different = changes(before["environment"], report["environment"], MODEL)
    different += [
        f"--config.{key} was {before['params'][key]!r} and is {report['params'][key]!r}"
        for key in DECODING
        if before["params"][key] != report["params"][key]
    ]
    if different:
        raise InputError(
            f"'{path}' holds outputs made otherwise: {'; '.join(different)}; set it back or "
            "choose another --config.result_prefix"
        )
    report["results"] = before["results"]
    report["environment"]["data"] |= before["environment"]["data"]


def read_evaluation(path: Path) -> dict[str, Any]:
    """The content of an evaluation's file.

    Raises:
        InputError: it cannot be read, is something else, or a newer version wrote it.
    """
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number = int(data["format"])
        assert data["kind"] == "evaluation" and isinstance(data["results"], list)
        assert set(data["params"]) >= {*DECODING} and isinstance(data["environment"], dict)
        assert all(set(result) >= RESULT for result in data["results"])
    except OSError as error:
        raise InputError(f"evaluation '{path}' cannot be read ({error.strerror})") from None
    except (ValueError, LookupError, TypeError, AssertionError):
        raise InputError(
            f"'{path}' is no evaluation, or damaged; move it and its outputs away or choose "
            "another --config.result_prefix"
        ) from None
    if number > FORMAT:
        raise InputError(
            f"evaluation '{path}' has format {number} and this version knows up to {FORMAT}; use "
            "the version that wrote it, or a newer one"
        )
    return data


@dataclass
class _Writer:
    """Lets the model write what a job's outputs lack."""

    team: Team
    outputs: Outputs

    def fill(self, job: Job) -> None:
        for start in range(0, len(job.examples), BLOCK):
            block = job.examples[start : start + BLOCK]
            for contender in job.contenders.values():
                keys = [_key(job, contender, example) for example in block]
                self._check(keys, block)
                # A block is made whole even when part of it is there: other pools round otherwise.
                if self.outputs.lacks(keys):
                    records = self._write(job, contender, block)
                    self.outputs.add([r for r in records if self.outputs.lacks([output_key(r)])])

    def _write(
        self, job: Job, contender: Contender, block: Sequence[Example]
    ) -> Iterator[dict[str, Any]]:
        wording = replace(job.settings.wording, connector=contender.connector)
        try:
            outcomes = self.team.held_out_text(
                wording, block, contender.prompt, job.settings.held_out
            )
        except FloatingPointError as error:
            raise InputError(
                f"{error}; try --config.dtype=float32, or check the model's weights"
            ) from None
        result = held_out(contender.prompt, block, outcomes)
        for place, (example, outcome) in enumerate(zip(block, outcomes, strict=True)):
            yield {
                **dict(zip(KEY, _key(job, contender, example), strict=True)),
                **written(self.team.tokenizer, example, outcome),
                **{metric: result.hits[metric][place] for metric in METRICS},
                "loss": outcome.loss,
            }

    def _check(self, keys: Sequence[Key], block: Sequence[Example]) -> None:
        for key, example in zip(keys, block, strict=True):
            known = self.outputs.records.get(key)
            if known and (known["question"], known["reference"]) != (
                example.question,
                example.answer,
            ):
                raise InputError(
                    f"row {example.row} of task '{key[0]}' is another one in "
                    f"'{self.outputs.path}'; choose another --config.result_prefix"
                )


def _key(job: Job, contender: Contender, example: Example) -> Key:
    extractor = job.settings.params["extractor_text"]
    return (job.name, job.split, example.row, extractor, contender.connector, contender.prompt)


def _results(job: Job, outputs: Outputs) -> Iterator[dict[str, Any]]:
    """One record for everything that named a prompt."""
    for contender in job.contenders.values():
        records = [outputs.records[_key(job, contender, example)] for example in job.examples]
        result = HeldOut(
            contender.prompt,
            {metric: [record[metric] for record in records] for metric in METRICS},
            sum(record["loss"] for record in records) / len(records),
        )
        for origin in contender.origins:
            yield {
                "task": job.name,
                "split": job.split,
                "rows": [example.row for example in job.examples],
                "extractor": job.settings.params["extractor_text"],
                "connector": contender.connector,
                "origin": origin,
                **result.record(),
            }


def _identity(record: dict[str, Any]) -> str:
    """Two results with the same one say the same; the later one counts."""
    names = ("task", "split", "rows", "extractor", "connector", "origin", "prompt")
    return json.dumps([record[name] for name in names])


def _json(report: dict[str, Any]) -> bytes:
    return json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1, default=str).encode()
