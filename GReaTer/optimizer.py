"""One call from data to prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from GReaTer.callbacks import GreaterCallback
from GReaTer.config import OptimizeConfig, word_of
from GReaTer.dataset import GreaterDataSet
from GReaTer.inputs import Inputs, data_set, groups_of
from GReaTer.outputs import GreaterOutputs, PromptEvaluation, pasted
from GReaTer.search import Searches
from prompt_optimization.errors import InputError, reworded
from prompt_optimization.models.answer_loss import loss_identity
from prompt_optimization.models.borrowed import borrowed, borrowed_or_loaded, pairs_of
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.model import Model
from prompt_optimization.models.open import check_same_tokenizer
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.writers import Writer
from prompt_optimization.paths import user_path
from prompt_optimization.runs.assemble import held_out_of
from prompt_optimization.runs.config import all_keys
from prompt_optimization.runs.progress_bar import ProgressBar
from prompt_optimization.scoring.finalists import Text
from prompt_optimization.tasks.examples import check_disjoint


class GreaterOptimizer:
    """Optimises prompts for one model, or for several of one tokenizer.

    A model is frozen and in eval mode during a call and as it was afterwards: weights,
    ``requires_grad``, train or eval mode, precision, tokenizer and generation config.

    Attributes:
        model, tokenizer: the first ones.
        outputs: of the last ``optimize``; after an error, what was found until then.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        optimize_config: OptimizeConfig | Mapping[str, Any] | None = None,
        *,
        writer: Writer | None = None,
    ) -> None:
        """
        Args:
            model: any causal language model of transformers, on one device or, by a device map, on
                several; or a list of models, for which one prompt is optimised together.
            tokenizer: its own, a fast one; or a list with one for each model.
            optimize_config: see ``OptimizeConfig``.
            writer: asked by the methods that ask one, in place of the one that the config names:
                an object with a ``name`` and a ``write`` as
                ``prompt_optimization.models.writers.Writer`` describes them.

        Raises:
            InputError: one of them cannot be used.
        """
        with reworded(word_of):
            self._pairs = pairs_of(model, tokenizer)
            self.config = OptimizeConfig.of(optimize_config)
        self.model, self.tokenizer = self._pairs[0]
        self.writer = writer
        self.outputs: GreaterOutputs | None = None
        self._last: tuple[str, GreaterDataSet] | None = None

    def optimize(
        self,
        inputs: Inputs,
        p_extractor: str,
        rounds: int = 105,
        *,
        p_init: str | None = None,
        per_question: bool = False,
        dev: Inputs | None = None,
        test: Inputs | None = None,
        callbacks: Sequence[GreaterCallback] = (),
        resume: str | Path | None = None,
        progress: bool = True,
    ) -> GreaterOutputs:
        """Optimise the prompts of ``inputs``.

        Inputs with the same prompt are optimised together, as in the paper: one prompt that serves
        them all. Ctrl-C ends the search and returns what was found until then.

        Args:
            inputs: questions with answers, and a prompt to begin with.
            p_extractor: text after the reasoning that asks for the answer; empty: it is that.
            rounds: steps of the search, per prompt (paper: T = 105).
            p_init: the initial prompt, in place of the inputs' own.
            per_question: a prompt for each question by itself, as the published toolkit does.
            dev: other questions, on which the best prompt is elected.
            test: still others, on which the initial and the best prompt are measured in the end.
            callbacks: notified of every round.
            resume: a folder; the same call continues there after whatever ended it.
            progress: show a bar.

        Returns:
            a dict from question to prompts, best first, with all numbers beside it.

        Raises:
            InputError: something given cannot be used.
            FloatingPointError: the model's logits or gradients are not finite.
        """
        with reworded(word_of):
            self.outputs = None
            _check_call(p_extractor, p_init, callbacks)
            rounds = all_keys()["n_steps"].check(rounds)
            data = data_set(inputs, "inputs")
            splits = {
                name: data_set(given, name)
                for name, given in (("dev", dev), ("test", test))
                if given is not None
            }
            everything = {"inputs": data, **splits}
            check_disjoint({name: each.rows for name, each in everything.items()}, "entry")
            groups = groups_of(data, p_init, per_question)
            settings = self._settings(p_extractor) | {"n_steps": rounds}
            self._last = p_extractor, splits.get("test", data)
            with ExitStack() as opened:
                models = [opened.enter_context(each) for each in self._borrowed()]
                check_same_tokenizer(models, [ModelSettings(each.info.name) for each in models])
                loss, vocabulary = self.config["loss_function"], models[0].info.vocabulary
                identity = loss_identity(loss, vocabulary, self.model.device)
                bar = ProgressBar(rounds * len(groups), progress)
                opened.callback(bar.close)
                searches = Searches(
                    models, self.config, settings, splits, callbacks, bar, self.writer
                )
                folder = None if resume is None else user_path(str(resume))
                try:
                    searches.run(groups, folder, identity)
                finally:
                    self.outputs = outputs = searches.outputs
        for callback in callbacks:
            callback.on_end(outputs)
        return outputs

    def evaluate(
        self, prompt: str, dataset: Inputs, p_extractor: str | None = None
    ) -> PromptEvaluation:
        """How often ``prompt`` makes the (first) model right on ``dataset``, whose own prompts do
        not count.

        Args:
            p_extractor: that of the last ``optimize`` when left out.

        Raises:
            InputError: something given cannot be used.
        """
        with reworded(word_of), self._borrowed()[0] as model:
            data = data_set(dataset, "dataset")
            return self._evaluate(model, prompt, data, p_extractor)

    def transfer(
        self,
        prompt: str,
        other_model: Any,
        dataset: Inputs | None = None,
        p_extractor: str | None = None,
    ) -> PromptEvaluation:
        """What ``prompt`` is worth to another model.

        Args:
            other_model: a hub name or folder, which is loaded in this model's precision and let
                go again, or a pair of model and tokenizer.
            dataset: the test data of the last ``optimize`` when left out, or its inputs if it had
                none.
            p_extractor: that of the last ``optimize`` when left out.

        Raises:
            InputError: something given cannot be used.
        """
        with reworded(word_of):
            given = self._last[1] if dataset is None and self._last else dataset
            if given is None:
                raise InputError("no data to test on; give transfer() a dataset")
            data = data_set(given, "dataset")
            with borrowed_or_loaded(other_model, self.model, self.config["max_rows"]) as model:
                return self._evaluate(model, prompt, data, p_extractor)

    def _evaluate(
        self, model: Model, prompt: str, data: GreaterDataSet, p_extractor: str | None
    ) -> PromptEvaluation:
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"the prompt is {prompt!r}; give one with at least a word")
        plan = self.config.plan(**self._settings(p_extractor), control_init=prompt, keep=())
        plan.metric.check(data.rows)
        scorer = held_out_of(plan, model, self.config.loss)
        return pasted(scorer.score(Text(Layout.normalise(prompt)), data.rows))

    def _borrowed(self) -> list[AbstractContextManager[Model]]:
        names = ("chat_template", "chat_template_arguments", "max_rows", "gradient_rows")
        arguments = [self.config[name] for name in (*names, "compute.graphs")]
        return [borrowed(*pair, *arguments) for pair in self._pairs]

    def _settings(self, p_extractor: str | None) -> dict[str, Any]:
        """The harness's settings that the text after the reasoning means."""
        if p_extractor is None:
            if self._last is None:
                raise InputError("no p_extractor; give the text that asks for the answer")
            p_extractor = self._last[0]
        # Answers stand after a space, so that they begin with a token of their own.
        spaced = not p_extractor or p_extractor[-1].isspace()
        return {"extractor_text": p_extractor if spaced else f"{p_extractor} "}


def _check_call(p_extractor: object, p_init: object, callbacks: object) -> None:
    """Refuse arguments of the wrong kind.

    Raises:
        InputError: one is.
    """
    for name, text in (("p_extractor", p_extractor), ("p_init", p_init or "")):
        if not isinstance(text, str):
            raise InputError(f"{name} is {text!r}; give a string")
    listed = callbacks if isinstance(callbacks, Sequence) else [callbacks]
    for callback in listed:
        if listed is not callbacks or not isinstance(callback, GreaterCallback):
            raise InputError(f"callbacks has {callback!r}; give a list of GreaterCallback objects")
