"""The searches of one call: a session for every prompt that is optimised."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from GReaTer.callbacks import GreaterCallback, Notifier
from GReaTer.config import OptimizeConfig
from GReaTer.dataset import GreaterDataSet
from GReaTer.inputs import Group
from GReaTer.outputs import GreaterOutputs, Prompt, Round
from prompt_optimization.models.model import Model
from prompt_optimization.models.writers import Writer
from prompt_optimization.runs.assemble import (
    check_search,
    make_session,
    open_embedder,
    open_writers,
    prepare,
    train_on,
)
from prompt_optimization.runs.config import Plan
from prompt_optimization.runs.now_file import NowFile
from prompt_optimization.runs.observers import Observers
from prompt_optimization.runs.progress_bar import ProgressBar
from prompt_optimization.runs.session import Session
from prompt_optimization.runs.store.folder import open_folder
from prompt_optimization.runs.store.store import Store


class Searches:
    """The searches of one call, one after the other, and their held-out scoring.

    Attributes:
        outputs: what has been found so far.
    """

    def __init__(
        self,
        models: Sequence[Model],
        config: OptimizeConfig,
        settings: dict[str, Any],
        splits: Mapping[str, GreaterDataSet],
        callbacks: Sequence[GreaterCallback],
        bar: ProgressBar,
        writer: Writer | None = None,
    ) -> None:
        """
        Args:
            settings: those of the harness, by name, that the call's arguments mean.
            writer: for methods that ask one, in place of the one that the settings name.
        """
        self.models = models
        self.writer = writer
        self.config = config
        self.settings = settings
        self.splits = {name: data.rows for name, data in splits.items()}
        self.callbacks = callbacks
        self.bar = bar
        self.outputs = GreaterOutputs()

    def run(self, groups: Sequence[Group], folder: Path | None, extra: dict[str, Any]) -> None:
        """Search and measure, group by group; ``outputs`` has the result, after an error too.

        Args:
            folder: where the searches are kept, if they are.
            extra: what a search depends on besides its settings.

        Raises:
            InputError: something given cannot be used.
            FloatingPointError: the model's logits or gradients are not finite.
        """
        try:
            plans = [self._plan(group) for group in groups]
            for warning in dict.fromkeys(text for plan in plans for text in plan.warnings):
                warnings.warn(warning, stacklevel=2)
            for group, plan in zip(groups, plans, strict=True):
                # Nothing is computed before everything is checked.
                check_search(plan, (group.rows, *self.splits.values()))
                prepare(plan, self.models, group.rows, self.splits)
            # The plans of one call differ in prompts and rows only.
            embedder, say = open_embedder(plans[0]), warnings.warn
            writing = open_writers(plans[0], self.models, lambda text: None, say, self.writer)
            with open_folder(folder) as stores, writing as writers:
                for number, (group, plan) in enumerate(zip(groups, plans, strict=True)):
                    rows = {"train": group.rows, **self.splits}
                    store = stores.open(number, plan, extra, self.models, rows, say, writers)
                    self._optimize(number, group, plan, store, writers=writers, embedder=embedder)
                    if self.outputs.status != "finished":
                        break
        except KeyboardInterrupt:
            self.outputs.status = "interrupted"
        except BaseException:
            self.outputs.status = "failed"
            raise

    def _plan(self, group: Group) -> Plan:
        rows = {f"n_{name}_data": len(self.splits.get(name, ())) for name in ("dev", "test")}
        own: dict[str, Any] = {"control_init": group.prompt, "n_train_data": len(group.rows)}
        own["model_paths"] = tuple(model.info.name for model in self.models)
        own["num_train_models"] = len(self.models)
        return self.config.plan(**self.settings, **own, **rows)

    def _optimize(
        self, number: int, group: Group, plan: Plan, store: Store, **helpers: Any
    ) -> None:
        train_on(plan, self.models, group.rows)
        self.bar.skip(len(store.log.data["steps"]))
        observers = [self.bar, *(Notifier(callback, number) for callback in self.callbacks)]
        if store.log.path is not None:
            observers.append(NowFile(store.log.path))
        watch, loss = Observers(observers, warnings.warn), self.config.loss
        session = make_session(plan, self.models, self.splits, store, watch, loss=loss, **helpers)
        try:
            session.run()
        finally:
            self._keep(number, group, session)  # Whatever ended the search, it found something.
        self.outputs.status = session.result.status

    def _keep(self, number: int, group: Group, session: Session) -> None:
        """Take over what a session has found, the elected prompt first."""
        result = session.result
        steps = session.store.log.data["steps"]
        self.outputs.history += [Round.of_record(number, record) for record in steps]
        if result.initial is None:
            return
        self.outputs.add(
            [row.question for row in group.rows],
            Prompt.of(result.initial, number, result.held_out),
            [Prompt.of(entry, number, result.held_out) for entry in result.ranked],
        )
