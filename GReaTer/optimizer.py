"""One call from data to prompts."""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from GReaTer.callbacks import GreaterCallback
from GReaTer.config import OptimizeConfig
from GReaTer.dataset import GreaterDataSet
from GReaTer.folder import resume_folder
from GReaTer.inputs import Inputs, check_disjoint, data_set, groups_of
from GReaTer.model import borrowed, check_model, loaded
from GReaTer.outputs import GreaterOutputs, PromptEvaluation
from GReaTer.work import Work, evaluate_prompt
from prompt_optimization.errors import InputError
from prompt_optimization.models.answer_loss import own_loss
from prompt_optimization.models.team import Team
from prompt_optimization.models.worker import Wording
from prompt_optimization.runs.environment import describe_model

# What the engine's messages call the things that are called otherwise here.
WORDS = {
    "--config.control_init": "the prompt",
    "--config.extractor_text": "p_extractor",
    "--config.max_new_tokens": "generate_config['max_new_tokens']",
    "--config.conversation_templates": "optimize_config['chat_template']",
    "--config.n_train_data, n_dev_data, n_test_data": "give fewer inputs",
    "--config.result_prefix or --config.logfile": "resume",
    "--config.result_prefix": "resume",
    "--config.resume=no": "another folder in resume",
    "--config.dtype=bfloat16": "torch_dtype=torch.bfloat16",
    "--config.train_data / --config.test_data": "data_path",
    "--config.dtype=float32": "torch_dtype=torch.float32",
    "--config.model_paths": "other_model",
    "allow it with --config.trust_remote_code=True": "load it yourself",
    "the finished steps are still in the log, but the run cannot go on; start it anew with "
    "--config.resume=no": "nothing can go on from there; give resume an empty folder",
}


class GreaterOptimizer:
    """Optimises prompts for one model.

    The model is frozen and in eval mode during a call and as it was afterwards: weights,
    ``requires_grad``, train or eval mode, precision, tokenizer and generation config.

    Attributes:
        outputs: of the last ``optimize``; after an error, what was found until then.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        optimize_config: OptimizeConfig | Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            model: any causal language model of transformers, on one device.
            tokenizer: its own, a fast one.
            optimize_config: see ``OptimizeConfig``.

        Raises:
            InputError: one of them cannot be used.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.config = OptimizeConfig.of(optimize_config)
        check_model(model, tokenizer)
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
            p_extractor: text behind the reasoning that makes the model state its answer.
            rounds: tokens that are edited, per prompt (paper: T = 105).
            p_init: the initial prompt, in place of the inputs' own.
            per_question: a prompt for each question by itself, as the published toolkit does.
            dev: other questions, on which the best prompt is elected.
            test: still others, on which the initial and the best prompt are measured in the end.
            callbacks: told of every round.
            resume: a folder; the same call goes on there after whatever ended it.
            progress: show a bar.

        Returns:
            a dict from question to prompts, best first, with all numbers behind it.

        Raises:
            InputError: something given cannot be used.
            FloatingPointError: the model's logits or gradients are not finite.
        """
        with _in_our_words():
            self.outputs = None
            _check_call(p_extractor, rounds, p_init, callbacks)
            data = data_set(inputs, "inputs")
            splits = {
                name: data_set(given, name)
                for name, given in (("dev", dev), ("test", test))
                if given is not None
            }
            check_disjoint(data, splits)
            groups = groups_of(data, p_init, per_question)
            wording = self._wording(p_extractor)
            self._last = p_extractor, splits.get("test", data)
            with ExitStack() as opened:
                team = opened.enter_context(self._team())
                loss_value = self._loss_value(team)  # what cannot be used is refused now
                folder = None
                if resume is not None:
                    identity = {
                        **_model_identity(team),
                        "inputs": f"{len(data)} entries with sha256 {data.sha256}",
                        "p_extractor": p_extractor,
                        "p_init": p_init,
                        "per_question": per_question,
                        **self.config.identity,
                        "loss_value": loss_value,
                    }
                    folder = opened.enter_context(resume_folder(resume, identity))
                bar = opened.enter_context(
                    tqdm(total=rounds * len(groups), disable=not progress, unit="round")
                )
                work = Work(team, wording, self.config, rounds, callbacks, folder, bar)
                try:
                    work.run(groups, splits)
                finally:
                    self.outputs = outputs = work.outputs
        for callback in callbacks:
            callback.on_end(outputs)
        return outputs

    def evaluate(
        self, prompt: str, dataset: Inputs, p_extractor: str | None = None
    ) -> PromptEvaluation:
        """How often ``prompt`` makes the model right on ``dataset``, whose own prompts do not
        count.

        Args:
            p_extractor: that of the last ``optimize`` when left out.

        Raises:
            InputError: something given cannot be used.
        """
        with _in_our_words(), self._team() as team:
            data = data_set(dataset, "dataset")
            return evaluate_prompt(team, self._wording(p_extractor), prompt, data, self.config)

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
        with _in_our_words(), ExitStack() as opened:
            data = self._last_data() if dataset is None else data_set(dataset, "dataset")
            wording = self._wording(p_extractor)
            if isinstance(other_model, str | Path):
                device, dtype = str(self.model.device), self.model.dtype
                team = opened.enter_context(
                    loaded(str(other_model), device, dtype, self.config.max_rows)
                )
            else:
                if not isinstance(other_model, tuple) or len(other_model) != 2:
                    raise InputError(
                        f"other_model is a {type(other_model).__name__}; give a name, or a pair "
                        "(model, tokenizer)"
                    )
                check_model(*other_model)
                team = opened.enter_context(borrowed(*other_model, max_rows=self.config.max_rows))
            return evaluate_prompt(team, wording, prompt, data, self.config)

    def _team(self) -> AbstractContextManager[Team]:
        own = self.config
        return borrowed(
            self.model,
            self.tokenizer,
            own.chat_template,
            own.chat_template_arguments,
            own.max_rows,
            own.gradient_rows,
        )

    def _last_data(self) -> GreaterDataSet:
        if self._last is None:
            raise InputError("no data to test on; give transfer() a dataset")
        return self._last[1]

    def _wording(self, p_extractor: str | None) -> Wording:
        if p_extractor is None:
            if self._last is None:
                raise InputError("no p_extractor; give the text that asks for the answer")
            p_extractor = self._last[0]
        # Answers stand behind a space, so that they begin with a token of their own.
        closed = p_extractor if p_extractor[-1:].isspace() else f"{p_extractor} "
        return Wording(closed, self.config.connector, " ")

    def _loss_value(self, team: Team) -> float:
        """The loss of a made-up answer of three tokens, to five digits: two losses of one name
        give two values.

        Raises:
            InputError: see ``own_loss``.
        """
        device, rows = self.model.device, team.facts.vocabulary
        logits = torch.linspace(-1, 1, 3 * rows, device=device).view(3, rows)
        answer = torch.arange(3, device=device) % rows
        return float(f"{own_loss(self.config.loss_function, logits, answer):.5g}")


def _model_identity(team: Team) -> dict[str, Any]:
    model = team.ask_one(describe_model)
    own = {key: model[key] for key in ("weights", "dtype", "stop_ids")}
    return own | {"template_sha256": team.chat.sha256}


def _check_call(p_extractor: object, rounds: object, p_init: object, callbacks: object) -> None:
    """Refuse arguments of the wrong kind.

    Raises:
        InputError: one is.
    """
    for name, text in (("p_extractor", p_extractor), ("p_init", p_init or "")):
        if not isinstance(text, str):
            raise InputError(f"{name} is {text!r}; give a string")
    if not isinstance(rounds, numbers.Integral) or isinstance(rounds, bool) or rounds < 0:
        raise InputError(f"rounds={rounds!r} is no number of tokens to edit; give 0 or more")
    if not isinstance(callbacks, Sequence):
        raise InputError(f"callbacks is a {type(callbacks).__name__}; give a list of them")
    for callback in callbacks:
        names = ("on_step", "on_accept", "on_end")
        if not all(callable(getattr(callback, name, None)) for name in names):
            raise InputError(
                f"callback {callback!r} lacks one of {', '.join(names)}; derive its class from "
                "GreaterCallback"
            )


@contextmanager
def _in_our_words() -> Iterator[None]:
    """The engine's messages name the harness's flags; here they are arguments and keys."""
    try:
        yield
    except InputError as error:
        text = str(error)
        for flag, word in WORDS.items():
            text = text.replace(flag, word)
        text = re.sub(r"--config\.(\w+)=?", r"optimize_config's \1 ", text).replace("  ", " ")
        raise InputError(text) from error.__cause__
