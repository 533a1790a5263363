"""Run a config on many tasks: a queue over the GPUs, or one task after another on a CPU.

Every further --config.KEY=VALUE goes to all runs. The same command continues where it was stopped:
finished runs are skipped and unfinished ones continue.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.commands.flags import check_config
from prompt_optimization.errors import InputError
from prompt_optimization.paths import data_folder, user_path
from prompt_optimization.runs.config import key_named
from prompt_optimization.runs.sweep import TASK_SETS, Plan, carry_out, jobs_of, slots_of
from prompt_optimization.signals import Interrupted, interruptible

RESUME = ("no", "True", "auto", "force")

# Keys that a sweep sets for each run.
OWN = ("train_data", "result_prefix", "logfile", "resume")


def main(arguments: Sequence[str], program: str) -> int:
    given, keys = _parser(program).parse_known_args(arguments)
    try:
        with interruptible():
            return sweep(given, keys)
    except InputError as error:
        return refused(error)
    except (Interrupted, KeyboardInterrupt) as stopped:
        again = f"{program} {shlex.join(arguments)}"
        print(f"stopped; the same command continues: {again}", file=sys.stderr)
        return stopped.code if isinstance(stopped, Interrupted) else 130


def sweep(given: argparse.Namespace, keys: Sequence[str]) -> int:
    """Carry the sweep out, then show what its runs have found; the exit code.

    Raises:
        InputError: something the user gave cannot be used.
    """
    _check(given.config, keys)
    folder, name = given.data, given.name or Path(given.config).stem
    if folder is None:
        folder = data_folder() / "official" / "BBH"
        if not folder.is_dir():
            folder, name = data_folder() / "BBH", f"{name}_generated"
            print(
                "note: generated look-alike tasks; fetch the official ones with "
                "greater fetch-data bbh gsm8k folio"
            )
    results = given.results or Path("results") / name
    plan = Plan(given.config, results, given.resume, tuple(keys))
    slots = slots_of(given.gpus, given.gpus_per_run, given.at_once)
    jobs, missing = jobs_of(_words(given.tasks), _words(given.methods), folder)
    if missing:
        print(f"no file in {folder} for: {' '.join(missing)}")
    done = [job for job in jobs if given.resume == "auto" and plan.is_finished(job)]
    if done:
        print(f"finished already: {' '.join(job.name for job in done)}")
        print("(their settings are not compared; --resume=no or other --results run them anew)")
    queue = [job for job in jobs if job not in done]
    if given.dry_run:
        for number, job in enumerate(queue):
            print(plan.shown(job, slots[number % len(slots)]))
        return 0
    failed = carry_out(queue, plan, slots, lambda line: print(line, flush=True))
    _show(results)
    if failed:
        print(f"{len(failed)} of {len(queue)} runs failed")
    return int(bool(failed))


def _parser(program: str) -> argparse.ArgumentParser:
    parser = Arguments(
        program,
        description="Run a config on many tasks: a queue over the GPUs, or one task after another "
        "on a CPU. Every further --config.KEY=VALUE goes to all runs. The same command continues "
        "where it was stopped.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", required=True, help="a config's name or file, as for greater optimize")
    add("--tasks", default="", help="names, separated by commas: of files in the folder of --data, "
        f"or {' or '.join(TASK_SETS)} for tasks of the paper; every file of the folder when left "
        "out")  # fmt: skip
    add("--methods", default="", help="names, separated by commas: each task with each of them, "
        "with a folder of logs for each; the config's method when left out")  # fmt: skip
    add("--data", type=user_path, help="the folder of task files; data/official/BBH where it is "
        "there, else data/BBH")  # fmt: skip
    add("--results", type=user_path, help="the folder of logs (results/NAME)")
    add("--name", default="", help="NAME, instead of the config's")
    add("--gpus", help="numbers, separated by commas; an empty text is the CPU; all that "
        "nvidia-smi lists when left out")  # fmt: skip
    add("--gpus-per-run", type=_number, default=1, metavar="N", help="GPUs of one run (1)")
    add("--at-once", type=_number, default=1, metavar="N", help="runs that share the CPU (1)")
    add("--resume", choices=RESUME, default="auto", help="auto: finished runs are skipped and "
        "unfinished ones continue; else as --config.resume of greater optimize")  # fmt: skip
    add("--dry-run", action="store_true", help="show the commands and run nothing")
    return parser


def _check(config: str, keys: Sequence[str]) -> None:
    for argument in keys:
        flag = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if flag is None:
            raise InputError(
                f"'{argument}' is not a flag of a sweep; every run takes --config.KEY=VALUE, and "
                "--help lists the rest"
            )
        key = key_named(flag.group(1))
        if key and key.name in OWN:
            raise InputError(
                f"a sweep sets {flag.group(1)} for each run; leave --config.{flag.group(1)} out"
            )
    check_config(config, keys)


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _number(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 1 on")
    return int(text)


def _show(results: Path) -> None:
    """The runs in a table and, where something is measured, on a page."""
    # Only now, because a dry run needs neither.
    from prompt_optimization.commands.list import show_runs
    from prompt_optimization.commands.report import write

    try:
        show_runs(results)
        write(results, "html", None, "")
    except InputError as error:
        print(f"note: {error.problem}", file=sys.stderr)
