"""One run of the harness: settings, data, models, session. The order below is the whole story."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch

from prompt_optimization.models.encoded import EncodedExamples
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.loading import load_tokenizer
from prompt_optimization.models.open import Opening, check_same_tokenizer, open_models
from prompt_optimization.paths import user_path
from prompt_optimization.runs.assemble import (
    check_search,
    make_session,
    open_embedder,
    open_writers,
    prepare,
    template_of,
)
from prompt_optimization.runs.config import Plan, plan
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.environment import describe_run
from prompt_optimization.runs.now_file import NowFile
from prompt_optimization.runs.observers import Observers
from prompt_optimization.runs.store.checkpoint import checkpoint_path
from prompt_optimization.runs.store.identity import ExistingRun, check_writable, locate
from prompt_optimization.runs.store.lock import RunLock
from prompt_optimization.runs.store.log import RunLog
from prompt_optimization.runs.store.store import Store
from prompt_optimization.runs.track import Track
from prompt_optimization.runs.transfer import transfer_to
from prompt_optimization.tasks.open import read_task


def run(values: Mapping[str, Any], display: Display, opening: Opening = open_models) -> RunLog:
    """Carry out the run that the settings ``values`` describe and return its finished log.

    Args:
        opening: opens the models of the search.

    Raises:
        InputError: something the user gave cannot be used. Steps that are finished by then stay
            readable in the log, whose status says ``failed``.
        Interrupted: a signal ended the run; the log's status says ``interrupted``.
    """
    # --- Settings: refused here, before anything is loaded, when they cannot work ---
    settings = plan(values)
    for warning in settings.warnings:
        display.warn(warning)
    with ExitStack() as locks:
        existing = _lock(settings, locks)
        if existing.finished:
            assert existing.data is not None
            checkpoint_path(existing.log).unlink(missing_ok=True)
            display.note(f"this run is finished already: {existing.log.resolve()}")
            return RunLog(existing.log, existing.data)
        return _run(settings, existing, locks, display, opening)


def _lock(settings: Plan, locks: ExitStack) -> ExistingRun:
    """Find the run that is meant, and keep other processes off it."""
    params = settings.params
    if params["resume"] != "no" and not params["logfile"]:
        # Lock first: two processes that resume the same prefix could otherwise both find no run
        # and both start one.
        check_writable(user_path(f"{params['result_prefix']}_"))
        locks.enter_context(RunLock(user_path(params["result_prefix"])))
    existing = locate(params, settings.free)
    check_writable(existing.log)
    if existing.data is None:
        return existing
    locks.enter_context(RunLock(existing.log))
    return existing.read_again()


def _run(
    settings: Plan,
    existing: ExistingRun,
    locks: ExitStack,
    display: Display,
    opening: Opening,
) -> RunLog:
    if settings.compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)

    # --- Task: three splits that share no question ---
    tables, splits = read_task(settings.task, display.warn, settings.method.unlabelled)
    rows = splits.named()
    check_search(settings, rows.values())
    held_out = {name: examples for name, examples in rows.items() if name != "train"}

    # --- Models: the copies that work, of one model or of several ---
    wanted = settings.models.models()
    optimised = wanted[: settings.models.num_train_models]
    others = wanted[len(optimised) :]
    with ExitStack() as opened:
        models = opened.enter_context(
            opening(optimised, settings.compute, display.note, display.warn)
        )
        check_same_tokenizer(models, optimised)
        prepare(settings, models, splits.train, held_out)
        for other in others if splits.test else ():  # refused now, not in the end
            layout = template_of(settings).layout(*load_tokenizer(other))
            EncodedExamples(layout, splits.test, Layout.normalise(settings.task.prompt))

        opening_writers = open_writers(settings, models, display.note, display.warn)
        writers = opened.enter_context(opening_writers)
        embedder = open_embedder(settings)

        # --- Log: a new one, or that of the run to continue ---
        environment = describe_run(models, tables, rows, settings.run.seed, writers)
        if existing.data is None:
            locks.enter_context(RunLock(existing.log))
            store = Store.create(existing.log, settings.params, environment)
        else:
            store = Store.resume(
                existing.log, existing.data, settings.params, environment, settings.free,
                display.warn, display.note,
            )  # fmt: skip

        # --- Search and measure ---
        transfer = transfer_to(wanted[1:], settings, opened.close, display.note, display.warn)
        trackers = [Track(settings.run.track)] if settings.run.track else []
        observers = Observers([display, NowFile(existing.log), *trackers], display.warn)
        session = make_session(
            settings,
            models,
            held_out,
            store,
            observers,
            transfer,
            writers=writers,
            embedder=embedder,
        )
        session.run()
    return store.log
