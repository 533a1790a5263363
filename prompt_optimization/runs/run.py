"""One run: data, model, search, held-out evaluation, log. The order below is the whole story."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import end_of_turn, resolve_chat_format
from prompt_optimization.models.engine import Engine
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.layout import Ids, Layout
from prompt_optimization.models.loading import (
    load_language_model,
    resolve_device,
    resolve_dtype,
)
from prompt_optimization.models.samples import Samples
from prompt_optimization.optimizers.greater.search import GreaterSearch, Scored, Step
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.environment import describe
from prompt_optimization.runs.evaluation import HeldOut, best_on, compare, evaluate_prompts
from prompt_optimization.runs.log import RunLog, log_path
from prompt_optimization.runs.settings import RunSettings, check_writable, run_settings
from prompt_optimization.tasks.examples import read_table, split_rows


def run(config: ConfigDict, defaults: ConfigDict, display: Display) -> RunLog:
    """Carry out the run that ``config`` describes and return its finished log.

    Raises:
        InputError: something the user gave cannot be used. Steps that are finished by then stay
            readable in the log, whose status says ``failed``.
    """
    # --- Settings: refused here, before anything is loaded, when they cannot work ---
    settings = run_settings(config, defaults)
    params = settings.params
    logfile = params["logfile"]
    path = Path(logfile).expanduser() if logfile else log_path(params["result_prefix"])
    check_writable(path)
    device = resolve_device(settings.model.device)
    dtype = resolve_dtype(settings.model.dtype, device)
    for warning in settings.warnings:
        display.warn(warning)

    # --- Task: three splits that share no question ---
    train_table = read_table(params["train_data"])
    test_table = read_table(params["test_data"]) if params["test_data"] else None
    splits = split_rows(
        train_table,
        test_table,
        offset=params["data_offset"],
        n_train=params["n_train_data"],
        n_dev=params["n_dev_data"],
        n_test=params["n_test_data"],
    )
    if len(splits.dev) < params["n_dev_data"]:
        display.warn(f"dev has {len(splits.dev)} rows: the task has no more")

    # --- Model ---
    display.note(f"loading {settings.model.name} on {device} in {str(dtype)[6:]}")
    model = load_language_model(
        settings.model.name,
        tokenizer_name=settings.model.tokenizer,
        device=device,
        dtype=dtype,
        trust_remote_code=settings.model.trust_remote_code,
        model_arguments=settings.model.model_arguments,
        tokenizer_arguments=settings.model.tokenizer_arguments,
    )
    chat = resolve_chat_format(
        model.tokenizer, settings.model.template, settings.model.template_arguments
    )
    model.stop_ids |= set(end_of_turn(model.tokenizer, chat))
    layout = Layout(
        model.tokenizer,
        chat,
        extractor=params["extractor_text"],
        connector=params["connector"],
        separator=params["extractor_separator"],
    )

    # --- Layouts: every sample of every split is laid out before the first step ---
    samples = {
        name: Samples(model, layout, rows, settings.prompt)
        for name, rows in (("train", splits.train), ("dev", splits.dev), ("test", splits.test))
        if rows
    }
    initial = samples["train"].prompt_ids(settings.prompt)
    if len(initial) < 2:
        raise InputError(
            f"the initial prompt '{settings.prompt}' is a single token; give --config.control_init "
            "at least two words"
        )
    longest_prompt = max(len(initial), settings.search.max_prompt_tokens)
    for split in samples.values():
        split.check_room(longest_prompt, params["max_new_tokens"], params["answer_tokens"])

    # --- Log ---
    tables = {"train": train_table} | ({"test": test_table} if test_table else {})
    log = RunLog(path, params, describe(model, chat, tables, params["seed"]))
    log.data["environment"]["rows"] = {
        name: [example.row for example in split.examples] for name, split in samples.items()
    }
    try:
        _search_and_evaluate(settings, model, samples, log, display)
    except KeyboardInterrupt:
        log.finish("interrupted")
        raise
    except (InputError, FloatingPointError) as error:
        log.finish("failed", error=str(error))
        if isinstance(error, FloatingPointError):
            kind = log.data["environment"]["dtype"]
            raise InputError(
                f"{error}, after {len(log.data['steps'])} steps in {kind}, which are in '{path}'; "
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
    return log


def _search_and_evaluate(
    settings: RunSettings,
    model: LanguageModel,
    samples: dict[str, Samples],
    log: RunLog,
    display: Display,
) -> None:
    params = settings.params
    engine = Engine(model, params["max_rows"])
    search = GreaterSearch(
        engine, samples["train"], settings.prompt, settings.search, params["gradient_rows"]
    )

    # --- Search ---
    display.begin(log.path, settings.search.steps, len(samples["train"]))
    initial = search.begin()
    log.data["initial"] = _scored(initial)
    log.data["best"] = [log.data["initial"]]
    log.write()
    display.initial(initial)
    for step in search.run():
        assert search.state is not None
        log.step(_step(step, model), [_scored(scored) for scored in search.state.best])
        display.step(step, search.state.best[0], model.tokenizer)
        if params["test_steps"] and (step.index + 1) % params["test_steps"] == 0:
            _test(settings, engine, samples, step.incumbent, log)
    assert search.state is not None
    if search.succeeded:
        display.note("every training sample is answered rightly: stopped")
    display.searched()

    # --- Held-out evaluation ---
    def held_out(split: str, prompts: list[Scored]) -> dict[Ids, HeldOut]:
        display.evaluating(split, len(prompts), len(samples[split]))
        pairs = [(scored.text, scored.ids) for scored in prompts]
        results = evaluate_prompts(
            engine, samples[split], pairs, settings.held_out, display.evaluated
        )
        return {ids: result for (_, ids), result in zip(pairs, results, strict=True)}

    best = search.state.best
    chosen = best[0]
    evaluation: dict[str, Any] = {"dev": None, "test": None}
    if "dev" in samples:
        # The initial prompt stands for election too: a search may find nothing better.
        contenders = [initial, *(scored for scored in best if scored.ids != initial.ids)]
        on_dev = held_out("dev", contenders)
        winner = best_on(list(on_dev.values()))
        chosen = next(scored for scored in contenders if on_dev[scored.ids] is winner)
        evaluation["dev"] = {
            "initial": on_dev[initial.ids].record(),
            "best": [on_dev[scored.ids].record() for scored in best],
        }
    if "test" in samples:
        on_test = held_out("test", [initial] if chosen.ids == initial.ids else [initial, chosen])
        evaluation["test"] = {
            "initial": on_test[initial.ids].record(),
            "best": on_test[chosen.ids].record(),
            "difference": compare(on_test[initial.ids], on_test[chosen.ids]),
        }
    evaluation["chosen"] = chosen.text
    log.finish("finished", evaluation=evaluation, tokens=dict(model.counts))
    display.end(initial, chosen, evaluation, log.path)


def _test(
    settings: RunSettings,
    engine: Engine,
    samples: dict[str, Samples],
    incumbent: Scored,
    log: RunLog,
) -> None:
    if "dev" not in samples:
        return
    (result,) = evaluate_prompts(
        engine, samples["dev"], [(incumbent.text, incumbent.ids)], settings.held_out
    )
    log.data["tests"].append({"step": len(log.data["steps"]) - 1, **result.record()})
    log.write()


def _scored(scored: Scored) -> dict[str, Any]:
    evaluation = scored.evaluation
    return {
        "prompt": scored.text,
        "ids": list(scored.ids),
        "found_at_step": scored.step,
        "samples": scored.samples,
        "objective": evaluation.objective,
        "loss": evaluation.loss,
        "mistakes": evaluation.mistakes,
        "nll": evaluation.nll,
    }


def _per_sample(scored: Scored) -> dict[str, Any]:
    """Nothing for a candidate that was given up: its samples are some of them, in no order."""
    outcomes = () if scored.evaluation.capped else scored.evaluation.outcomes
    return {
        "losses": [outcome.loss for outcome in outcomes],
        "wrong": [int(outcome.mistake) for outcome in outcomes],
    }


def _step(step: Step, model: LanguageModel) -> dict[str, Any]:
    decode = model.tokenizer.decode
    return {
        "step": step.index,
        "position": step.position,
        "appended": step.appended,
        "samples": step.samples,
        "topk": step.topk,
        "proposals": [
            {"token": token, "text": decode([token]), "gradient": gradient}
            for token, gradient in zip(step.proposals, step.gradients, strict=False)
        ],
        "capped": {
            "candidates": sum(c.scored.evaluation.capped for c in step.candidates),
            "rows": sum(step.samples - c.scored.samples for c in step.candidates),
        },
        "shortlist": [
            {
                "token": candidate.token,
                "text": decode([candidate.token]),
                "gradient": candidate.gradient,
                **_scored(candidate.scored),
                "capped": candidate.scored.evaluation.capped,
                **_per_sample(candidate.scored),
            }
            for candidate in step.candidates
        ],
        "chosen": step.chosen,
        "accepted": step.accepted,
        "incumbent": _scored(step.incumbent),
        "events": list(step.events),
        "seconds": step.seconds,
        "tokens": step.tokens,
    }
