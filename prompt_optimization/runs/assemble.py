"""From settings and opened models to a session, for harness and library alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import import_module

from prompt_optimization.errors import InputError
from prompt_optimization.models.answer_loss import AnswerLoss
from prompt_optimization.models.embedder import Embedder
from prompt_optimization.models.encoded import EncodedExamples
from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.masked import MaskedTemplate
from prompt_optimization.models.model import Model
from prompt_optimization.models.open import open_models
from prompt_optimization.models.role_settings import RoleSettings
from prompt_optimization.models.sampling import Sampling
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.models.writers import LocalWriter, Writer
from prompt_optimization.optimizers.base import Tools, optimizer_class
from prompt_optimization.optimizers.registry import method_names, settings_class
from prompt_optimization.runs.config import Plan
from prompt_optimization.runs.observers import Observers
from prompt_optimization.runs.session import Session, Transfer
from prompt_optimization.runs.store.store import Store
from prompt_optimization.scoring.held_out import HeldOutScorer
from prompt_optimization.scoring.scorer import Scorer
from prompt_optimization.scoring.writing import CountedWriter
from prompt_optimization.tasks.examples import Example

Say = Callable[[str], None]

# A temperature up to this is greedy: logits divided by less leave float32.
COLDEST = 1e-6


def check_search(settings: Plan, splits: Iterable[Sequence[Example]]) -> None:
    """Refuse a search that needs an answer to force where no extractor asks for one, rows that
    nothing could be right for, too few of them for the method, and too small a budget for it.

    Args:
        splits: the rows of each, the training rows first.

    Raises:
        InputError: one has to be refused.
    """
    train, *held_out = splits
    if settings.models.masked:
        check_masked(settings)
    for rows in (train, *held_out):
        settings.metric.check(rows)
    settings.method.check_examples(train)
    objective, method = settings.scoring.objective, settings.run.method
    if objective not in settings.method.objectives:
        raise InputError(
            f"the method '{method}' cannot minimise the objective '{objective}'; take one of "
            f"{', '.join(settings.method.objectives)}",
            key=("method", "objective"),
        )
    bare = next((example for example in train if not example.labelled), None)
    if bare and objective != "answers":
        raise InputError(
            f"the objective '{objective}' forces the right answers, and row {bare.row} has none; "
            "take the objective 'answers'",
            key="objective",
        )
    check_budget(settings, len(train))
    if settings.models.masked or settings.task.extractor_text:
        return
    if settings.scoring.objective != "answers":
        raise InputError(
            f"the objective '{settings.scoring.objective}' forces the answer after an extractor, "
            "and there is none; take the objective 'answers', or give one",
            key=("objective", "extractor_text"),
        )
    if optimizer_class(settings.run.method).differentiates:
        raise InputError(
            f"the method '{settings.run.method}' differentiates the loss of the answer after an "
            "extractor, and there is none; take another method, or give one",
            key=("method", "extractor_text"),
        )
    settings.method.check_without_extractor()


def check_masked(settings: Plan) -> None:
    """Refuse a method that needs more of a model than which word fills its mask.

    Raises:
        InputError: it does.
    """
    if not settings.method.takes_masked:
        able = ", ".join(name for name in method_names() if settings_class(name).takes_masked)
        raise InputError(
            f"the method '{settings.run.method}' needs models that write, and model.label_words "
            f"makes them masked ones; take one of {able}",
            key=("method", "model.label_words"),
        )
    settings.method.check_masked()


def check_budget(settings: Plan, examples: int, key: str = "max_evaluations") -> None:
    """Refuse a budget that leaves the method nothing to show.

    Args:
        examples: of the training split.
        key: that sets the budget.

    Raises:
        InputError: it does.
    """
    budget, models = settings.stop.max_evaluations, settings.models.num_train_models
    method = settings.run.method
    needed = optimizer_class(method).first_round(settings.method, examples, models)
    if 0 < budget < needed:
        raise InputError(
            f"a budget of {budget} rows is below the first round of '{method}', which takes "
            f"{needed} with those of the initial prompt; give at least that",
            key=key,
        )


def template_of(
    settings: Plan, template: str | None = None, connector: str | None = None
) -> PromptTemplate:
    """The texts around question, prompt and reasoning.

    Args:
        template, connector: in place of the settings', where a model writes.
    """
    task, models = settings.task, settings.models
    if models.masked:
        words = tuple(sorted(models.label_words.items()))
        return MaskedTemplate("", "", "", models.masked_template, words=words)
    return PromptTemplate(
        task.extractor_text,
        task.connector if connector is None else connector,
        task.extractor_separator,
        template or task.template,
        task.fold_system,
        settings.reasoning.think_end,
    )


def decoding_of(settings: Plan, loss: AnswerLoss | None = None) -> Decoding:
    """How a row reasons and writes its answer.

    Args:
        loss: in place of the mean cross-entropy.
    """
    own, sampling = settings.reasoning, None
    if own.temperature > COLDEST:
        sampling = Sampling(own.temperature, own.top_k, own.top_p, settings.run.seed)
    return Decoding(
        own.max_new_tokens,
        own.answer_tokens,
        sampling=sampling,
        answer_loss=loss,
        must_end=bool(settings.scoring.must_end),
    )


def held_out_of(settings: Plan, model: Model, loss: AnswerLoss | None = None) -> HeldOutScorer:
    """What scores prompts on held-out rows with ``model``.

    Args:
        loss: see ``decoding_of``.
    """
    decoding = decoding_of(settings, loss)
    return HeldOutScorer(model, template_of(settings), decoding, metric=settings.metric)


def train_on(
    settings: Plan, models: Sequence[Model], examples: Sequence[Example]
) -> list[EncodedExamples]:
    """Encode the training examples in all workers of ``models``.

    Raises:
        InputError: a row or the initial prompt does not go with a model.
    """
    template, prompt = template_of(settings), Layout.normalise(settings.task.prompt)
    return [model.train_on(template, examples, prompt) for model in models]


def prepare(
    settings: Plan,
    models: Sequence[Model],
    examples: Sequence[Example],
    splits: Mapping[str, Sequence[Example]],
) -> None:
    """Encode every row of every split, and look at the models that the method loads itself, so that
    what does not go with a model is refused before anything is computed.

    Args:
        examples: the training examples; the models are left with them.
        splits: the held-out rows.

    Raises:
        InputError: a row or the initial prompt does not go with a model, or the method's own model
            cannot be used.
    """
    decoding, prompt = decoding_of(settings), Layout.normalise(settings.task.prompt)
    method = optimizer_class(settings.run.method)
    method.check_models(settings.method, [model.info.name for model in models])
    for model, training in zip(models, train_on(settings, models, examples), strict=True):
        ids = training.prompt_ids(prompt)
        method.check_start(prompt, ids)
        longest = max(len(ids), settings.task.max_prompt_tokens)
        model.check_room(training, longest, decoding)
        for name, rows in splits.items():
            try:
                held_out_of(settings, model).check(rows, prompt, longest)
            except InputError as error:
                raise InputError(f"of {name}, {error.problem}", key=error.keys) from None


@contextmanager
def open_writers(
    settings: Plan, models: Sequence[Model], note: Say, warn: Say, given: Writer | None = None
) -> Iterator[dict[str, Writer]]:
    """By role, the writer and the judge that ``settings`` ask for; none where the method asks none.

    A model that has several roles is opened once.

    Args:
        models: those that are optimised for; the first is the writer where no other is named.
        note, warn: as ``open_models`` takes them.
        given: in place of the writer that the settings name.

    Raises:
        InputError: one cannot be loaded, or has no chat template.
    """
    with ExitStack() as opened:
        found: dict[str, Writer] = {}

        def opening(own: RoleSettings, known: Sequence[Model]) -> Writer:
            return opened.enter_context(_open_role(settings, own, known, note, warn))

        if settings.method.writes:
            found["writer"] = given or opening(settings.writer, models[:1])
        if settings.method.judges:
            writer, judge = found["writer"], settings.judge
            local = [writer.model] if isinstance(writer, LocalWriter) else []
            found["judge"] = opening(judge, [models[0], *local]) if judge.model else writer
        yield found


@contextmanager
def _open_role(
    settings: Plan, own: RoleSettings, known: Sequence[Model], note: Say, warn: Say
) -> Iterator[Writer]:
    """The model that ``own`` names: a server's, one of those ``known``, or another one."""
    if own.base_url:
        yield import_module("prompt_optimization.models.http_writer").HttpWriter(own)
        return
    for model in known:
        if own.model in ("", model.info.name):
            yield _local_writer(model, own)
            return
    like = settings.models.models()[0]
    asked = replace(like, name=own.model, tokenizer=None, template="auto")
    with open_models([asked], settings.compute, note, warn) as (model,):
        yield _local_writer(model, own)


def _local_writer(model: Model, settings: RoleSettings) -> LocalWriter:
    if model.chat.name == "plain" and not settings.accept_raw:
        raise InputError(
            f"the {settings.group} '{model.info.name}' has no chat template, so it would not do "
            "what it is asked; choose an instruct model, or accept its replies as they are",
            key=settings.keys("model", "accept_raw"),
        )
    return LocalWriter(model, settings.group)


def open_embedder(settings: Plan) -> Embedder | None:
    """The sentence encoder that ``settings`` ask for; None where the method compares no texts.

    Raises:
        InputError: it cannot be loaded.
    """
    return Embedder(settings.embed) if settings.method.embeds else None


def make_session(
    settings: Plan,
    models: Sequence[Model],
    splits: Mapping[str, Sequence[Example]],
    store: Store,
    observers: Observers,
    transfer: Transfer | None = None,
    loss: AnswerLoss | None = None,
    writers: Mapping[str, Writer] | None = None,
    embedder: Embedder | None = None,
) -> Session:
    """The session that ``settings`` describe, on models that ``prepare`` has seen.

    Args:
        splits: the held-out rows.
        loss: of an answer, in place of the mean cross-entropy.
        writers: by role, for methods that ask some.
        embedder: for methods that compare texts.

    Raises:
        InputError: what the writers have answered so far, or what the method has kept, cannot be
            read.
    """
    decoding = decoding_of(settings, loss)
    method = optimizer_class(settings.run.method)
    written = settings.method.reads_answers or settings.scoring.objective == "answers"
    scorer = Scorer(
        models,
        replace(
            decoding,
            answer_tokens=decoding.answer_tokens if written else 0,
            margin=settings.method.margins,
        ),
        objective=settings.scoring.objective,
        nll_weight=settings.scoring.nll_weight,
        written=written,
        keep=settings.task.keep,
        metric=settings.metric,
    )
    writer = judge = None
    if writers:
        replies = store.replies()
        writer = CountedWriter(writers["writer"], settings.writer, scorer, replies)
        if "judge" in writers:
            judge = CountedWriter(writers["judge"], settings.judge, scorer, replies)
    tools = Tools(
        random.Random(settings.run.seed),
        settings.stop.max_steps,
        settings.run.top_prompts,
        settings.task.max_prompt_tokens,
        writer,
        judge,
        embedder,
        store.artifacts(),
    )
    return Session(
        method(settings.method, scorer, tools),
        scorer,
        held_out_of(settings, models[0], loss),
        splits,
        Layout.normalise(settings.task.prompt),
        settings.stop,
        store,
        observers,
        test_steps=settings.run.test_steps,
        transfer=transfer,
    )
