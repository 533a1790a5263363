"""The searches of one call, and what their prompts are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from GReaTer.callbacks import GreaterCallback
from GReaTer.config import OptimizeConfig
from GReaTer.dataset import GreaterDataSet, Row
from GReaTer.folder import ResumeFolder
from GReaTer.inputs import Group
from GReaTer.outputs import GreaterOutputs, Prompt, PromptEvaluation, Round
from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.team import Team
from prompt_optimization.models.worker import Wording
from prompt_optimization.optimizers.greater.search import GreaterSearch
from prompt_optimization.optimizers.greater.state import Scored, Step
from prompt_optimization.runs.evaluation import METRICS, held_out, rank, written
from prompt_optimization.tasks.examples import Example


class Work:
    """The searches of one call, one after the other, and their held-out evaluation."""

    def __init__(
        self,
        team: Team,
        wording: Wording,
        config: OptimizeConfig,
        rounds: int,
        callbacks: Sequence[GreaterCallback],
        folder: ResumeFolder | None,
        bar: Any,
    ) -> None:
        self.team = team
        self.wording = wording
        self.config = config
        self.rounds = rounds
        self.callbacks = callbacks
        self.folder = folder
        self.bar = bar
        self.history: list[Round] = []
        self.status = "finished"
        self._questions: list[list[str]] = []
        self._initial: list[Prompt] = []
        self._found: list[list[Prompt]] = []

    @property
    def outputs(self) -> GreaterOutputs:
        """What has been found so far."""
        return GreaterOutputs(
            self._questions, self._initial, self._found, self.history, self.status
        )

    def run(self, groups: Sequence[Group], splits: Mapping[str, GreaterDataSet]) -> None:
        """Search and evaluate, group by group; ``outputs`` has the result, after an error too.

        Raises:
            InputError: as ``_check``.
            FloatingPointError: the model's logits or gradients are not finite.
        """
        try:
            self._check(groups, splits)
            for number, group in enumerate(groups):
                self._optimize(number, group, splits)
                if self.status != "finished":
                    break
        except KeyboardInterrupt:
            self.status = "interrupted"
        except BaseException:
            self.status = "failed"
            raise

    def _optimize(self, number: int, group: Group, splits: Mapping[str, GreaterDataSet]) -> None:
        search = self._search(group)
        try:
            self._rounds(number, search)
        finally:
            # Whatever ended the search, what it found is not lost.
            if search.state is not None:
                self._questions.append([row.question for row in group.rows])
                self._initial.append(_prompt(search.state.initial, number))
                self._found.append([_prompt(scored, number) for scored in search.state.best])
        self._initial[-1], self._found[-1] = self._held_out(
            self._initial[-1], self._found[-1], splits
        )

    def _check(self, groups: Sequence[Group], splits: Mapping[str, GreaterDataSet]) -> None:
        """Refuse what cannot work before anything is computed.

        Raises:
            InputError: a prompt is a single token, or questions do not go with the model.
        """
        seen: set[str] = set()
        for group in groups:
            prompt = Layout.normalise(group.prompt)
            own = self.team.lay_out(self.wording, examples_of(group.rows), prompt)
            initial = own.prompt_ids(prompt)
            if len(initial) < 2:
                raise InputError(
                    f"the prompt '{group.prompt}' is a single token; give it at least two words"
                )
            longest = max(len(initial), self.config.max_prompt_tokens)
            self.team.check_room(own, longest, self.config.decoding)
            for name, data in splits.items() if prompt not in seen else ():
                try:
                    unseen = self.team.lay_out(self.wording, examples_of(data.rows), prompt)
                    self.team.check_room(unseen, longest, self.config.held_out)
                except InputError as error:
                    raise InputError(f"of {name}, {error}") from None
            seen.add(prompt)

    def _search(self, group: Group) -> GreaterSearch:
        prompt = Layout.normalise(group.prompt)
        self.team.train_on(self.wording, examples_of(group.rows), prompt)
        return GreaterSearch([self.team], prompt, self.config.search(self.rounds))

    def _rounds(self, number: int, search: GreaterSearch) -> None:
        history = self.folder.restore(number, search) if self.folder else []
        self.history += history
        self.bar.update(len(history))
        if search.state is None:
            search.begin()
        for step in search.run():
            assert search.state is not None
            record = _round(number, step, search)
            self.history.append(record)
            history.append(record)
            if self.folder:
                self.folder.save(number, search, history)
            self.bar.set_postfix(objective=f"{record.best:.4f}", refresh=False)
            self.bar.update()
            if self._told(record):
                self.status = "stopped"
                return

    def _told(self, record: Round) -> bool:
        """Whether a callback wants the search to end; all of them are told."""
        wishes = [callback.on_step(record) for callback in self.callbacks]
        if record.accepted:
            wishes += [callback.on_accept(record) for callback in self.callbacks]
        return any(wishes)

    def _held_out(
        self, first: Prompt, best: list[Prompt], splits: Mapping[str, GreaterDataSet]
    ) -> tuple[Prompt, list[Prompt]]:
        """Elect on dev, where the initial prompt stands too, and measure on test."""
        if "dev" in splits:
            if first.text not in [prompt.text for prompt in best]:
                best = [*best, first]
            best = [replace(prompt, dev=self._evaluate(prompt, "dev", splits)) for prompt in best]
            best.sort(key=_on_dev)
            first = next(prompt for prompt in best if prompt.text == first.text)
        if "test" in splits:
            finalists = {prompt.text: prompt for prompt in (first, best[0])}
            on_test = {
                text: self._evaluate(prompt, "test", splits) for text, prompt in finalists.items()
            }
            best = [replace(prompt, test=on_test.get(prompt.text)) for prompt in best]
            first = replace(first, test=on_test[first.text])
        return first, best

    def _evaluate(
        self, prompt: Prompt, name: str, splits: Mapping[str, GreaterDataSet]
    ) -> PromptEvaluation:
        self.bar.set_description(f"evaluating on {name}")
        return evaluate_prompt(self.team, self.wording, prompt.text, splits[name], self.config)


def evaluate_prompt(
    team: Team, wording: Wording, prompt: str, data: GreaterDataSet, config: OptimizeConfig
) -> PromptEvaluation:
    """How often ``prompt`` makes a model right on ``data``.

    Raises:
        InputError: the prompt is empty, or does not go with the data or the model.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"the prompt is {prompt!r}; give one with at least a word")
    examples = examples_of(data.rows)
    text = Layout.normalise(prompt)
    outcomes = team.held_out_text(wording, examples, text, config.held_out)
    result = held_out(text, examples, outcomes)
    rows = [
        {
            **written(team.tokenizer, example, outcome),
            **{metric: int(result.hits[metric][place]) for metric in METRICS},
        }
        for place, (example, outcome) in enumerate(zip(examples, outcomes, strict=True))
    ]
    return PromptEvaluation(text.strip(), **result.accuracy, loss=result.loss, rows=rows)


def examples_of(rows: Sequence[Row]) -> list[Example]:
    return [Example(row.question, row.answer, row.number) for row in rows]


def _prompt(scored: Scored, group: int) -> Prompt:
    evaluation = scored.evaluation
    return Prompt(
        text=scored.text.strip(),
        objective=evaluation.objective,
        loss=evaluation.loss,
        mistakes=evaluation.mistakes,
        nll=evaluation.nll,
        found_at=scored.step,
        group=group,
    )


def _on_dev(prompt: Prompt) -> tuple[int, float]:
    """Sorts best first."""
    assert prompt.dev is not None
    return rank(prompt.dev.held_out)


def _round(group: int, step: Step, search: GreaterSearch) -> Round:
    assert search.state is not None
    evaluation = step.incumbent.evaluation
    return Round(
        group=group,
        index=step.index,
        position=step.position,
        tried=tuple(search.tokenizer.decode([each.token]) for each in step.candidates),
        accepted=step.accepted,
        prompt=step.incumbent.text.strip(),
        objective=evaluation.objective,
        loss=evaluation.loss,
        mistakes=evaluation.mistakes,
        best=search.state.best[0].evaluation.objective,
        seconds=sum(step.seconds.values()),
    )
