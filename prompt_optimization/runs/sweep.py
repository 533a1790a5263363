"""A queue of runs over device slots: one process a run, and the same queue again continues."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.optimizers.registry import module_of
from prompt_optimization.runs.store.log import logs_of, read_log
from prompt_optimization.signals import Interrupted, shielded
from prompt_optimization.tasks.registry import TABLE_1_BBH, TASKS

# Names that stand for several tasks: those of the paper's table 1, and those of them that are
# answered by an option's letter.
TASK_SETS = {
    "table1": (*TABLE_1_BBH, "gsm8k", "folio"),
    "choice": tuple(name for name in TABLE_1_BBH if TASKS[name].answer == "letter"),
}

# Files that lie beside the folder of the others, as their authors' data are laid out.
_BESIDE = {"gsm8k": "GSM8K/gsm8k_train.json", "folio": "FOLIO/folio_train.json"}
_TABLES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")

# The slot of a machine without GPUs.
CPU = ""

# Seconds between two looks at the runs.
_PAUSE = 0.2
# Lines of a failed run's output that are shown.
_SHOWN = 5


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: the task, or ``METHOD/TASK``: where its log lies below the sweep's folder.
        data: the task's file.
        method: empty for the config's.
    """

    name: str
    data: Path
    method: str = ""


@dataclass(frozen=True)
class Plan:
    """What all runs of a sweep share.

    Attributes:
        config: a config's name or file.
        results: the folder of logs.
        resume: as the setting of that name.
        keys: further flags of every run.
    """

    config: str
    results: Path
    resume: str = "auto"
    keys: tuple[str, ...] = ()

    def command(self, job: Job, devices: str) -> list[str]:
        """What carries out ``job`` on ``devices``, which are numbers of GPUs or ``CPU``."""
        command = [
            sys.executable, "-m", "prompt_optimization", "optimize", f"--config={self.config}",
            f"--config.train_data={job.data}", "--config.extractor_text=",
            f"--config.result_prefix={self.results / job.name}", f"--config.resume={self.resume}",
        ]  # fmt: skip
        if job.method:
            command.append(f"--config.method={job.method}")
        if devices == CPU:
            command.append("--config.devices=cpu")
        return [*command, *self.keys]

    def shown(self, job: Job, devices: str) -> str:
        """The same as a line for a shell."""
        return f"CUDA_VISIBLE_DEVICES={devices} {shlex.join(self.command(job, devices))}"

    def output(self, job: Job) -> Path:
        """The file of what the run says."""
        return self.results / f"{job.name}.out"

    def is_finished(self, job: Job) -> bool:
        """Whether a finished run of ``job`` lies in the folder."""
        return any(map(_is_finished, logs_of(str(self.results / job.name))))


def _is_finished(log: Path) -> bool:
    try:
        return bool(read_log(log)["status"] == "finished")
    except InputError:
        return False  # the run itself says what is wrong with it


def jobs_of(
    tasks: Sequence[str], methods: Sequence[str], folder: Path
) -> tuple[list[Job], list[str]]:
    """The runs of ``tasks`` with each of ``methods``, and the tasks of a set without a file.

    Args:
        tasks: names of tasks or of ``TASK_SETS``; every table in ``folder`` when empty.
        methods: the config's method when empty.

    Raises:
        InputError: there is no such folder, method or file.
    """
    if not folder.is_dir():
        raise InputError(
            f"folder '{folder}' does not exist; give one that holds task files", key="data"
        )
    for method in methods:
        try:
            module_of(method, "settings")
        except InputError as error:
            raise InputError(error.problem, key="methods") from None
    files, missing = _files(tasks, folder)
    jobs = [
        Job(f"{method}/{task}" if method else task, path, method)
        for task, path in files.items()
        for method in methods or [""]
    ]
    return jobs, missing


def _files(tasks: Sequence[str], folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The file of each task, and the names that have none."""
    if not tasks:
        found = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in _TABLES}
        if not found:
            raise InputError(f"folder '{folder}' holds no task file; give another one", key="data")
        return found, []
    files, missing = {}, []
    for name in tasks:
        for task in TASK_SETS.get(name, (name,)):
            if (path := _file(task, folder)) is not None:
                files[task] = path
            elif name in TASK_SETS:
                missing.append(task)
            else:
                raise InputError(
                    f"there is no file for task '{name}' in '{folder}'; fetch it, spell it as its "
                    f"file, or give one of {', '.join(TASK_SETS)}",
                    key="tasks",
                )
    if not files:
        raise InputError(
            f"folder '{folder}' holds none of the tasks of '{', '.join(tasks)}'; fetch them, or "
            "give another folder",
            key="data",
        )
    return files, missing


def _file(task: str, folder: Path) -> Path | None:
    candidates = [folder / f"{task}{suffix}" for suffix in _TABLES]
    if task in _BESIDE:
        candidates.append(folder.parent / _BESIDE[task])
    return next((path for path in candidates if path.is_file()), None)


def slots_of(gpus: str | None, per_run: int, at_once: int) -> list[str]:
    """The groups of devices that runs take turns on, each as ``CUDA_VISIBLE_DEVICES`` has it.

    Args:
        gpus: numbers with commas or spaces between; empty for the CPU; None for all that
            nvidia-smi lists.
        per_run: GPUs of one run.
        at_once: runs that share the CPU.

    Raises:
        InputError: there are fewer GPUs than one run needs, or they cannot be listed.
    """
    devices = (_listed() if gpus is None else gpus).replace(",", " ").split()
    if not devices:
        return [CPU] * at_once
    if len(devices) < per_run:
        raise InputError(
            f"the GPUs '{' '.join(devices)}' are fewer than the {per_run} that a run takes; name "
            "more, or take fewer",
            key=("gpus", "gpus-per-run"),
        )
    whole = len(devices) - len(devices) % per_run
    return [",".join(devices[i : i + per_run]) for i in range(0, whole, per_run)]


def _listed() -> str:
    """What nvidia-smi lists; nothing where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    asked = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        raise InputError(
            "nvidia-smi does not work; name the GPUs, or none for the CPU", key="gpus"
        ) from None


def carry_out(
    jobs: Sequence[Job], plan: Plan, slots: Sequence[str], say: Callable[[str], None]
) -> list[Job]:
    """Carry out ``jobs``, in their order as slots become free; the jobs that failed.

    Args:
        say: told what begins, what is done and what failed.

    Raises:
        InputError: the folder cannot be written.
        Interrupted, KeyboardInterrupt: the runs were ended and can be continued.
    """
    waiting, failed = list(jobs), []
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}
    try:
        while waiting or running:
            for slot, job, code in list(_ended(running)):
                del running[slot]
                if code == 0:
                    say(f"done    {job.name}")
                    continue
                failed.append(job)
                say(f"FAILED  {job.name}; the end of {plan.output(job)}:")
                for line in _tail(plan.output(job)):
                    say(f"    {line}")
            for slot, devices in enumerate(slots):
                if slot not in running and waiting:
                    job = waiting.pop(0)
                    say(f"start   {job.name} on {f'GPU {devices}' if devices else 'the CPU'}")
                    with shielded():  # no process may be lost between its start and its entry
                        running[slot] = job, _start(job, plan, devices)
            if running:
                time.sleep(_PAUSE)
    except (Interrupted, KeyboardInterrupt):
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.wait()
        raise
    return failed


def _start(job: Job, plan: Plan, devices: str) -> subprocess.Popen[bytes]:
    output = plan.output(job)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("wb") as file:
            return subprocess.Popen(
                plan.command(job, devices),
                env={**os.environ, "CUDA_VISIBLE_DEVICES": devices},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # A Ctrl-C reaches this process alone, which then ends its children once.
                start_new_session=True,
            )
    except OSError as error:
        raise InputError(
            f"'{output}' cannot be written ({error.strerror}); choose another folder",
            key="results",
        ) from None


def _ended(
    running: dict[int, tuple[Job, subprocess.Popen[bytes]]],
) -> Iterator[tuple[int, Job, int]]:
    for slot, (job, process) in running.items():
        if (code := process.poll()) is not None:
            yield slot, job, code


def _tail(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN:]
