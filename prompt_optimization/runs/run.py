"""One run: data, model, search, held-out evaluation, log. The order below is the whole story."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from ml_collections import ConfigDict

from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.loading import ModelSettings, load_tokenizer
from prompt_optimization.models.samples import LaidOut
from prompt_optimization.models.team import Team
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.optimizers.greater.snapshot import carry_over, restore, snapshot
from prompt_optimization.optimizers.greater.state import Scored, Step
from prompt_optimization.runs.checkpoint import (
    Checkpoint,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
)
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.environment import describe, describe_model
from prompt_optimization.runs.evaluation import HeldOut, Split, best_on, compare, held_out
from prompt_optimization.runs.lock import RunLock
from prompt_optimization.runs.log import RunLog
from prompt_optimization.runs.records import scored_record, step_record
from prompt_optimization.runs.resume import Place, differences, locate
from prompt_optimization.runs.settings import RunSettings, check_writable, read_task, run_settings
from prompt_optimization.runs.teams import check_same_tokenizer, open_teams
from prompt_optimization.signals import Interrupted, shielded
from prompt_optimization.tasks.examples import Example


def run(config: ConfigDict, defaults: ConfigDict, display: Display) -> RunLog:
    """Carry out the run that ``config`` describes and return its finished log.

    Raises:
        InputError: something the user gave cannot be used. Steps that are finished by then stay
            readable in the log, whose status says ``failed``.
        Interrupted: a signal ended the run; the log's status says ``interrupted``.
    """
    # --- Settings: refused here, before anything is loaded, when they cannot work ---
    settings = run_settings(config, defaults)
    params = settings.params
    for warning in settings.warnings:
        display.warn(warning)
    with ExitStack() as locks:
        if params["resume"] != "no" and not params["logfile"]:
            # Two that would go on with the same run must not both find none.
            check_writable(Path(f"{params['result_prefix']}_").expanduser())
            locks.enter_context(RunLock(Path(params["result_prefix"]).expanduser()))
        place = locate(params)
        check_writable(place.log)
        if place.data is not None:
            locks.enter_context(RunLock(place.log))
            place = place.read_again()
        if place.finished:
            assert place.data is not None
            checkpoint_path(place.log).unlink(missing_ok=True)
            display.note(f"this run is finished already: {place.log.resolve()}")
            return RunLog(place.log, place.data)
        return _run(settings, place, locks, display)


def _run(settings: RunSettings, place: Place, locks: ExitStack, display: Display) -> RunLog:
    params = settings.params
    if params["deterministic"]:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)

    # --- Task: three splits that share no question ---
    tables, splits = read_task(params)
    rows = splits.named()
    unseen = {name: examples for name, examples in rows.items() if name != "train"}
    if len(splits.dev) < params["n_dev_data"]:
        display.warn(f"dev has {len(splits.dev)} rows: the task has no more")
    wording = settings.wording

    # --- Models: the copies that work, of one model or of several ---
    with ExitStack() as opened:
        teams = opened.enter_context(open_teams(settings.models, settings.workers, display))
        check_same_tokenizer(teams, settings.models)
        facts = [team.ask_one(describe_model) for team in teams]

        # --- Layouts: every sample of every split is laid out before the first step ---
        for team in teams:
            training = team.train_on(wording, splits.train, settings.prompt)
            initial = training.prompt_ids(settings.prompt)
            if len(initial) < 2:
                raise InputError(
                    f"the initial prompt '{settings.prompt}' is a single token; give "
                    "--config.control_init at least two words"
                )
            longest_prompt = max(len(initial), settings.search.max_prompt_tokens)
            others = [
                team.lay_out(wording, examples, settings.prompt) for examples in unseen.values()
            ]
            for samples in (training, *others):
                team.check_room(samples, longest_prompt, settings.held_out)

        # What cannot be tested at the end is refused now.
        if splits.test:
            for model in settings.test_models:
                LaidOut(wording.layout(*load_tokenizer(model)), splits.test, settings.prompt)

        # --- Log: a new one, or the one to go on with ---
        environment = describe(facts[0], teams[0].chat, tables, params["seed"])
        environment["other_models"] = [
            {key: fact[key] for key in ("model", "weights", "dtype", "stop_ids")}
            | {"chat_template": team.chat.sha256}
            for team, fact in zip(teams[1:], facts[1:], strict=True)
        ]
        environment["rows"] = {
            name: [example.row for example in examples] for name, examples in rows.items()
        }
        if place.data is None:
            locks.enter_context(RunLock(place.log))
            checkpoint_path(place.log).unlink(missing_ok=True)
            log, old, changed = RunLog.create(place.log, params, environment), None, False
        else:
            log, old, changed = _reopen(settings, place.log, place.data, environment, display)

        # --- Work ---
        to_score = {name: Split(teams[0], wording, examples) for name, examples in unseen.items()}
        work = _Work(settings, teams, to_score, log, display)
        with _kept(log):
            work.search(old, changed)
            evaluation, contestants = work.evaluate()
            log.data["evaluation"] = evaluation
            log.write()
            # The models that only test need the room.
            opened.close()
            elsewhere = (*settings.models[1:], *settings.test_models)
            if elsewhere and splits.test:
                evaluation["transfer"] = _transfer(
                    elsewhere, settings, splits.test, contestants, display
                )
            log.finish("finished", evaluation=evaluation, tokens=dict(work.optimizer.counts))
    checkpoint_path(log.path).unlink(missing_ok=True)
    display.end(*contestants, evaluation, log.path)
    return log


@contextmanager
def _kept(log: RunLog) -> Iterator[None]:
    """Whatever ends the work within, the log says what it was."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        log.finish("interrupted")
        raise
    except (InputError, FloatingPointError) as error:
        log.finish("failed", error=str(error))
        if isinstance(error, FloatingPointError):
            kind = log.data["environment"]["dtype"]
            raise InputError(
                f"{error}, after {len(log.data['steps'])} steps in {kind}, which are in "
                f"'{log.path}'; "
                + (
                    "check the model's weights"
                    if kind == "float32"
                    else "try --config.dtype=float32"
                )
            ) from error
        raise
    except BaseException:
        log.finish("failed", error="see the traceback on the screen")
        raise


def _transfer(
    models: Sequence[ModelSettings],
    settings: RunSettings,
    rows: Sequence[Example],
    contestants: tuple[Scored, Scored],
    display: Display,
) -> list[dict[str, Any]]:
    """What the initial and the chosen prompt are worth to ``models``, each by itself."""
    found = []
    texts = list(dict.fromkeys(scored.text for scored in contestants))
    for model in models:
        with open_teams([model], settings.workers, display) as (team,):
            results = {}
            for text in texts:
                outcomes = team.held_out_text(settings.wording, rows, text, settings.held_out)
                results[text] = held_out(text, rows, outcomes)
                display.evaluated(results[text])
            initial, chosen = (results[scored.text] for scored in contestants)
            found.append(
                {
                    "model": team.ask_one(describe_model),
                    "initial": initial.record(),
                    "best": chosen.record(),
                    "difference": compare(initial, chosen),
                }
            )
    return found


def _reopen(
    settings: RunSettings,
    path: Path,
    data: dict[str, Any],
    environment: dict[str, Any],
    display: Display,
) -> tuple[RunLog, Checkpoint | None, bool]:
    """The log of an unfinished run, where it stood, and whether anything has changed since.

    Raises:
        InputError: the run had other settings, data or model, or cannot go on.
    """
    params = settings.params
    different = differences(data, params, environment)
    if different and params["resume"] != "force":
        raise InputError(
            f"the run in '{path}' cannot go on like this: {'; '.join(different)}; set it "
            "back, or go on all the same with --config.resume=force"
        )
    for words in different:
        display.warn(f"{words}; going on all the same")
    packages = data["environment"]["packages"]
    for package, version in environment["packages"].items():
        if packages.get(package) != version:
            display.warn(f"{package} was {packages.get(package)} and is {version}")
    saved = checkpoint_path(path)
    if not data["steps"] and not saved.exists():
        checkpoint, steps = None, 0  # killed before there was anything to go on from
    else:
        checkpoint = load_checkpoint(saved)
        steps = checkpoint.search.values["step"]
        if checkpoint.run != data["sessions"][0]["run"] or steps > len(data["steps"]):
            raise InputError(
                f"checkpoint '{saved}' belongs to another run than '{path}'; move it away and "
                "start anew with --config.resume=no"
            )
        display.note(f"going on with {path.resolve()} behind step {steps}")
    if different:
        data.update(params=params, environment=environment)
    return RunLog.resume(path, data, steps, different), checkpoint, bool(different)


class _Work:
    """Search, then held-out evaluation, with a checkpoint after every piece of either."""

    def __init__(
        self,
        settings: RunSettings,
        teams: Sequence[Team],
        splits: dict[str, Split],
        log: RunLog,
        display: Display,
    ) -> None:
        self.settings = settings
        self.splits = splits
        self.log = log
        self.display = display
        self.optimizer = GreaterSearch(teams, settings.prompt, settings.search, settings.stoppers)
        self.held_out: dict[str, list[HeldOut]] = {}

    def search(self, checkpoint: Checkpoint | None, changed: bool) -> None:
        """Begin, or go on from ``checkpoint``, and make steps until a stopper ends it.

        Args:
            changed: settings, data or model are others than the checkpoint's.
        """
        optimizer, log, display = self.optimizer, self.log, self.display
        display.begin(log.path, self.settings.search.steps, len(optimizer.samples))
        if checkpoint is None:
            optimizer.begin()
        elif changed:
            carry_over(optimizer, checkpoint.search)
        else:
            self._restore(checkpoint)
        state = optimizer.state
        assert state is not None
        log.data["initial"] = scored_record(state.initial)
        log.data["best"] = [scored_record(each) for each in state.best]
        log.write()
        if checkpoint is None or changed:
            self._save()
        display.standing(state.incumbent, state.step)
        for step in optimizer.run():
            self.held_out.clear()  # of a search that was thought to have ended
            every = self.settings.params["test_steps"]
            if every and (step.index + 1) % every == 0 and "dev" in self.splits:
                self._test(step)
            checkpoint = self._checkpoint()  # asks the workers, which may take its time
            with shielded():  # a finished step is kept whole: in the log and in the checkpoint
                record = step_record(step, optimizer.tokenizer)
                log.step(record, [scored_record(each) for each in state.best])
                save_checkpoint(checkpoint_path(log.path), checkpoint)
            display.step(step, state.best[0], optimizer.tokenizer)
        log.data["ended"] = optimizer.ended
        display.searched(optimizer.ended)

    def evaluate(self) -> tuple[dict[str, Any], tuple[Scored, Scored]]:
        """Elect the best prompt on dev and measure it and the initial one on test.

        Returns:
            the log's record of it, and the initial and the elected prompt.
        """
        state = self.optimizer.state
        assert state is not None
        initial, best = state.initial, state.best
        chosen = best[0]
        evaluation: dict[str, Any] = {"dev": None, "test": None}
        if "dev" in self.splits:
            # The initial prompt stands for election too: a search may find nothing better.
            contenders = [initial, *(scored for scored in best if scored.ids != initial.ids)]
            on_dev = self._score("dev", contenders)
            winner = best_on(list(on_dev.values()))
            chosen = next(scored for scored in contenders if on_dev[scored.ids] is winner)
            evaluation["dev"] = {
                "initial": on_dev[initial.ids].record(),
                "best": [on_dev[scored.ids].record() for scored in best],
            }
        if "test" in self.splits:
            finalists = [initial] if chosen.ids == initial.ids else [initial, chosen]
            on_test = self._score("test", finalists)
            evaluation["test"] = {
                "initial": on_test[initial.ids].record(),
                "best": on_test[chosen.ids].record(),
                "difference": compare(on_test[initial.ids], on_test[chosen.ids]),
            }
        evaluation["chosen"] = chosen.text
        return evaluation, (initial, chosen)

    def _score(self, split: str, prompts: list[Scored]) -> dict[Ids, HeldOut]:
        """Results of ``prompts`` on ``split``; those that are known already are not made again."""
        self.display.evaluating(split, len(prompts), len(self.splits[split].examples))
        known = self.held_out.setdefault(split, [])
        for result in known:
            self.display.evaluated(result)
        for scored in prompts[len(known) :]:
            result = self.splits[split].evaluate(scored.text, scored.ids, self.settings.held_out)
            known.append(result)
            self._save()
            self.display.evaluated(result)
        return {scored.ids: result for scored, result in zip(prompts, known, strict=True)}

    def _test(self, step: Step) -> None:
        scored = step.incumbent
        result = self.splits["dev"].evaluate(scored.text, scored.ids, self.settings.held_out)
        self.log.data["tests"].append({"step": step.index, **result.record()})

    def _save(self) -> None:
        save_checkpoint(checkpoint_path(self.log.path), self._checkpoint())

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(run=self.log.run, search=snapshot(self.optimizer), held_out=self.held_out)

    def _restore(self, checkpoint: Checkpoint) -> None:
        restore(self.optimizer, checkpoint.search)
        self.held_out = checkpoint.held_out
