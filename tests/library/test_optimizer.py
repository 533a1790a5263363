"""The library as its users call it."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import threading
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertLMHeadModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
)

from GReaTer import (
    GreaterCallback,
    GreaterDataSet,
    GreaterOptimizer,
    GreaterOutputs,
    InputError,
    OptimizeConfig,
    Round,
)
from prompt_optimization.models.model import Model
from prompt_optimization.optimizers.greater.search import GreaterSearch
from tests.conftest import tiny_model
from tests.devices import lay_on_both
from tests.library.conftest import EXTRACTOR, PROMPT, entries

ROOT = Path(__file__).resolve().parents[2]


def without_seconds(outputs: GreaterOutputs) -> dict[str, Any]:
    found = json.loads(outputs.to_json())
    for step in found["history"]:
        step.pop("seconds")
    return found


def test_the_published_usage(
    model: Any, tokenizers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/boolean_expressions.jsonl").write_text("\n".join(map(json.dumps, entries(6))))
    tokenizer = tokenizers["llama-3"]

    dataset1 = GreaterDataSet(data_path="./data/boolean_expressions.jsonl")
    optimize_config = {
        "intersect_q": 5,
        "candidates_topk": 10,
        "loss_function": F.cross_entropy,
        "perplexity_loss": True,
        "perplexity_lambda": 0.2,
        "filter": True,
        "generate_config": {"temperature": 0.6, "max_new_tokens": 8},
    }
    optimizer = GreaterOptimizer(model=model, tokenizer=tokenizer, optimize_config=optimize_config)
    outputs = optimizer.optimize(inputs=dataset1, p_extractor=EXTRACTOR, rounds=6)

    assert list(outputs) == [entry["question"] for entry in dataset1]
    for p_stars in outputs.values():
        assert p_stars == [prompt.text for prompt in outputs.prompts] and p_stars[0] == outputs.best
    objectives = [prompt.objective for prompt in outputs.prompts]
    assert objectives == sorted(objectives) and len(set(outputs.prompts)) == len(objectives)
    (initial,) = outputs.initial
    assert initial.text == PROMPT and objectives[0] < initial.objective
    assert [step.index for step in outputs.history] == list(range(6))
    assert min(step.best for step in outputs.history) == objectives[0]
    assert outputs.status == "finished" and "6 rounds" in repr(outputs)
    assert json.loads(outputs.to_json(tmp_path / "out.json"))["prompts"][0]["text"] == outputs.best
    assert outputs.best in unescape(outputs._repr_html_())
    frame = outputs.to_dataframe()
    assert frame["objective"].tolist() == objectives and frame["text"][0] == outputs.best


def test_inputs_that_share_a_prompt_are_optimised_together(make_optimizer: Any) -> None:
    other = "Think about each number, then add."
    mixed = [*entries(2), *entries(2, 2, other), *entries(1, 4)]
    optimizer = make_optimizer()
    together = optimizer.optimize(mixed, EXTRACTOR, 2, progress=False)
    assert [prompt.text for prompt in together.initial] == [PROMPT, other]
    assert {prompt.group for prompt in together.prompts} == {0, 1} and len(together) == 5
    assert together[mixed[0]["question"]] == together[mixed[4]["question"]]
    with pytest.raises(ValueError, match="2 prompts were optimised"):
        _ = together.best
    single = optimizer.optimize(mixed[:3], EXTRACTOR, 2, per_question=True, progress=False)
    assert len(single.initial) == 3 and [len(single.history)] == [6]
    one = optimizer.optimize(mixed[1:2], EXTRACTOR, 2, progress=False)
    assert single[mixed[1]["question"]] == one[mixed[1]["question"]]
    given = optimizer.optimize(mixed, EXTRACTOR, 0, p_init=other, progress=False)
    assert given.best == other and not given.history


def test_sampling_is_seeded(make_optimizer: Any, inputs: GreaterDataSet) -> None:
    def run(**generate: Any) -> list[tuple[str, float]]:
        seed = generate.pop("seed", 0)
        optimizer = make_optimizer(seed=seed, generate_config={"max_new_tokens": 6, **generate})
        outputs = optimizer.optimize(inputs, EXTRACTOR, 1, progress=False)
        return [(prompt.text, prompt.loss) for prompt in outputs.initial]

    greedy, sampled = run(), run(temperature=1.5)
    assert greedy != sampled and run(temperature=1.5) == sampled
    assert run(temperature=1.5, seed=1) != sampled
    assert run(temperature=0) == greedy and run(temperature=1.5, do_sample=False) == greedy
    assert run(do_sample=True) != greedy


def test_a_loss_of_ones_own(make_optimizer: Any, inputs: GreaterDataSet) -> None:
    def dummy_loss_fn(y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return 2 * F.cross_entropy(y_pred, y) + 1

    def run(function: Any) -> GreaterOutputs:
        return make_optimizer(loss_function=function).optimize(inputs, EXTRACTOR, 2, progress=False)

    usual, doubled, likelihood = run(F.cross_entropy), run(dummy_loss_fn), run(F.nll_loss)
    assert doubled.initial[0].loss == pytest.approx(2 * usual.initial[0].loss + 1, rel=1e-5)
    assert likelihood.best == usual.best
    assert likelihood.prompts[0].loss == pytest.approx(usual.prompts[0].loss, rel=1e-5)


def test_what_the_published_keys_mean() -> None:
    given = OptimizeConfig(intersect_q=3, candidates_topk=7, perplexity_lambda=0.5)
    settings = given.plan(extractor_text="?").params
    assert (settings["intersect_q"], settings["topk"]) == (3, 7)
    assert settings["control_weight"] == 0.5 and settings["selection_control_weight"] == 0.05
    off = OptimizeConfig(perplexity_loss=False, filter=False).plan(extractor_text="?").params
    assert off["control_weight"] == 0 == off["selection_control_weight"]
    assert off["allow_non_ascii"] and not settings["allow_non_ascii"]


class Recorder(GreaterCallback):
    def __init__(self, stop_at: int = -1, fault: type[BaseException] | None = None) -> None:
        self.stop_at, self.fault = stop_at, fault
        self.steps: list[Round] = []
        self.accepted: list[Round] = []
        self.ends: list[GreaterOutputs] = []

    def on_step(self, step: Round) -> bool | None:
        self.steps.append(step)
        if self.fault and step.index == self.stop_at:
            raise self.fault
        return step.index == self.stop_at

    def on_accept(self, step: Round) -> bool | None:
        self.accepted.append(step)
        return None

    def on_end(self, outputs: GreaterOutputs) -> None:
        self.ends.append(outputs)


def test_callbacks_are_told_and_can_stop(make_optimizer: Any, inputs: GreaterDataSet) -> None:
    recorder = Recorder(stop_at=3)
    outputs = make_optimizer().optimize(
        inputs, EXTRACTOR, 9, callbacks=[recorder, GreaterCallback()], progress=False
    )
    assert outputs.status == "stopped" and recorder.ends == [outputs]
    assert recorder.steps == outputs.history and len(outputs.history) == 4
    assert recorder.accepted == [step for step in outputs.history if step.accepted] != []
    assert outputs.best == outputs.prompts[0].text


def test_ctrl_c_leaves_a_usable_result(make_optimizer: Any, inputs: GreaterDataSet) -> None:
    recorder = Recorder(stop_at=2, fault=KeyboardInterrupt)
    outputs = make_optimizer().optimize(
        inputs, EXTRACTOR, 9, callbacks=[recorder], progress=False, test=entries(2, 10)
    )
    assert outputs.status == "interrupted" and len(outputs.history) == 3
    assert outputs.best and outputs.prompts[0].test is None and recorder.ends == [outputs]


@pytest.mark.parametrize("where", ["start", "held_out"])
def test_ctrl_c_at_any_moment(
    make_optimizer: Any,
    inputs: GreaterDataSet,
    model: Any,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    target = GreaterSearch if where == "start" else Model
    monkeypatch.setattr(target, where, interrupt)
    outputs = make_optimizer().optimize(inputs, EXTRACTOR, 2, test=entries(2, 10), progress=False)
    assert outputs.status == "interrupted" and model.training
    if where == "held_out":
        assert outputs.best and len(outputs.history) == 2
    else:
        with pytest.raises(ValueError, match="interrupted before any prompt was evaluated"):
            _ = outputs.best


def test_an_error_loses_nothing_that_was_found(
    make_optimizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> Any:
        raise FloatingPointError("the model's logits are not finite")

    optimizer = make_optimizer()
    with monkeypatch.context() as patch, pytest.raises(FloatingPointError):
        patch.setattr(Model, "held_out", fail)
        optimizer.optimize(entries(2), EXTRACTOR, 2, test=entries(2, 10), progress=False)
    assert optimizer.outputs.status == "failed" and optimizer.outputs.best


def test_a_callback_that_fails_ends_nothing(make_optimizer: Any) -> None:
    fault, other = Recorder(stop_at=1, fault=ZeroDivisionError), Recorder()
    with pytest.warns(UserWarning, match="left out from now on .ZeroDivisionError"):
        outputs = make_optimizer().optimize(
            entries(2), EXTRACTOR, 4, callbacks=[fault, other], progress=False
        )
    assert outputs.status == "finished" and len(outputs.history) == 4
    assert len(fault.steps) == 2 and other.steps == outputs.history


def test_a_prompt_stands_anywhere(make_optimizer: Any, inputs: GreaterDataSet) -> None:
    turns = [("system", "Count. {prompt}"), ("user", "{question}")]
    own = make_optimizer(template=turns, keep=["step by step"])
    outputs = own.optimize(inputs, EXTRACTOR, rounds=4, progress=False)
    assert any(step.accepted for step in outputs.history)
    assert all("step by step" in prompt.text for prompt in outputs.prompts)
    # What is measured need not have the words that stay.
    found = own.evaluate("Count slowly.", inputs)
    as_dicts = [{"role": role, "content": content} for role, content in turns]
    assert make_optimizer(template=as_dicts).evaluate(found.prompt, inputs, EXTRACTOR) == found
    usual = make_optimizer().evaluate(found.prompt, inputs, EXTRACTOR)
    assert usual.prompt == found.prompt and usual.loss != found.loss
    for template, problem in (
        ([("system", "{prompt}")], r"has no slot \{question\}"),
        ("sytem", "did you mean 'system'"),
        (7, "7 is not a text"),
        ([7], "turn 1 of the template is 7"),
    ):
        with pytest.raises(InputError, match=problem):
            make_optimizer(template=template).optimize(inputs, EXTRACTOR)
    with pytest.raises(InputError, match=r"lacks the words 'slowly', .* \(keep and the prompt\)"):
        make_optimizer(keep=["slowly"]).optimize(inputs, EXTRACTOR)


def test_one_thread_at_a_time(make_optimizer: Any, model: Any) -> None:
    optimizers, found = [make_optimizer(), make_optimizer()], {}

    def work(which: int) -> None:
        found[which] = optimizers[which].optimize(entries(3), EXTRACTOR, 3, progress=False)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert without_seconds(found[0]) == without_seconds(found[1])
    assert model.training and any(parameter.requires_grad for parameter in model.parameters())


def test_within_callbacks_and_modes(make_optimizer: Any, model: Any) -> None:
    class Curious(GreaterCallback):
        def on_step(self, step: Round) -> Any:
            value = make_optimizer().evaluate(step.prompt, entries(2, 10), EXTRACTOR).strict.n
            return np.bool_(value == 2 and step.index == 1)

    plain = make_optimizer().optimize(entries(3), EXTRACTOR, 2, progress=False)
    with torch.inference_mode():
        curious = make_optimizer().optimize(
            entries(3), EXTRACTOR, 4, callbacks=[Curious()], progress=False
        )
    assert curious.status == "stopped" and curious.history[-1].prompt == plain.history[-1].prompt
    assert model.training


def left(model: Any, tokenizer: Any) -> dict[str, Any]:
    """All that has to be as it was."""
    return {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "flags": [parameter.requires_grad for parameter in model.parameters()],
        "gradients": [parameter.grad for parameter in model.parameters()],
        "modes": [module.training for module in model.modules()],
        "dtype": model.dtype,
        "hooks": [len(module._forward_pre_hooks) for module in model.modules()],
        "generation": model.generation_config.to_dict(),
        "config": model.config.to_dict(),
        "padding": tokenizer.padding_side,
        "tokenizer": tokenizer.backend_tokenizer.to_str(),
    }


@pytest.mark.parametrize("fault", [None, KeyboardInterrupt])
def test_the_model_is_left_as_it_was(
    make_optimizer: Any, model: Any, tokenizers: Any, inputs: GreaterDataSet, fault: Any
) -> None:
    optimizer = make_optimizer()
    before = copy.deepcopy(left(model, tokenizers["llama-3"]))
    recorder = Recorder(stop_at=1, fault=fault)
    if fault:
        outputs = optimizer.optimize(inputs, EXTRACTOR, 3, callbacks=[recorder], progress=False)
        assert outputs.status == "interrupted"
    else:
        outputs = optimizer.optimize(inputs, EXTRACTOR, 3, progress=False)
        optimizer.evaluate(outputs.best, entries(2, 10))
    after = left(model, tokenizers["llama-3"])
    weights = before.pop("weights")
    assert all(torch.equal(value, weights[name]) for name, value in after.pop("weights").items())
    assert after == before and True in before["modes"] and False in before["modes"]


def test_held_out_numbers(make_optimizer: Any, inputs: GreaterDataSet) -> None:
    optimizer = make_optimizer(top_prompts=3)
    dev, test = entries(5, 10), entries(6, 20)
    outputs = optimizer.optimize(inputs, EXTRACTOR, 4, dev=dev, test=test, progress=False)
    (initial,) = outputs.initial
    best = outputs.best_prompt
    assert all(prompt.dev and prompt.dev.strict.n == 5 for prompt in outputs.prompts)
    order = [(-prompt.dev.strict.value, prompt.dev.loss) for prompt in outputs.prompts]
    assert order == sorted(order) and initial.text in [prompt.text for prompt in outputs.prompts]
    assert initial.test and best.test and best.test.strict.n == 6
    again = optimizer.evaluate(best.text, test)
    assert again == best.test
    assert again.strict.low <= again.strict.value <= again.strict.high
    assert [row["reference"] for row in again.rows] == [entry["answer"] for entry in test]
    difference = best.test.minus(initial.test, "teacher_forced")
    assert difference.value == pytest.approx(
        best.test.teacher_forced.value - initial.test.teacher_forced.value
    )
    assert best.test.minus(best.test).low == 0 == best.test.minus(best.test).high
    with pytest.raises(ValueError, match="different questions"):
        best.test.minus(best.dev)
    assert outputs.to_dataframe()["test_n"].dropna().unique().tolist() == [6]


def test_transfer(
    make_optimizer: Any, inputs: GreaterDataSet, model: Any, tokenizers: Any, saved_model: Path
) -> None:
    optimizer = make_optimizer()
    with pytest.raises(InputError, match="give transfer\\(\\) a dataset"):
        optimizer.transfer(PROMPT, saved_model)
    with pytest.raises(InputError, match="no p_extractor"):
        optimizer.evaluate(PROMPT, inputs)
    outputs = optimizer.optimize(inputs, EXTRACTOR, 1, test=entries(3, 10), progress=False)
    here = optimizer.evaluate(outputs.best, entries(3, 10))
    pair = (copy.deepcopy(model), tokenizers["llama-3"])
    assert optimizer.transfer(outputs.best, pair) == here
    assert optimizer.transfer(outputs.best, str(saved_model), entries(3, 10)).strict.n == 3
    with pytest.raises(InputError, match="other_model is a LlamaForCausalLM; give a name, or"):
        optimizer.transfer(outputs.best, model)


def test_resume_after_an_interruption(
    make_optimizer: Any, inputs: GreaterDataSet, tmp_path: Path
) -> None:
    whole = make_optimizer().optimize(inputs, EXTRACTOR, 6, progress=False)
    call = {"inputs": inputs, "p_extractor": EXTRACTOR, "resume": tmp_path / "r", "progress": False}
    fault = Recorder(stop_at=2, fault=KeyboardInterrupt)
    interrupted = make_optimizer().optimize(**call, rounds=6, callbacks=[fault])
    assert interrupted.status == "interrupted" and len(interrupted.history) == 3
    told = Recorder()
    resumed = make_optimizer().optimize(**call, rounds=6, callbacks=[told])
    assert [step.index for step in told.steps] == [3, 4, 5]
    assert without_seconds(resumed) == without_seconds(whole)
    finished = make_optimizer().optimize(**call, rounds=6)
    assert without_seconds(finished) == without_seconds(whole)
    longer = make_optimizer().optimize(**call, rounds=7)
    assert len(longer.history) == 7
    # Memory and held-out evaluation change nothing of the search.
    make_optimizer(max_rows=3, gradient_rows=1, answer_tokens=5).optimize(**call, rounds=7)
    with pytest.raises(InputError, match=r"the inputs changed \(training was"):
        make_optimizer().optimize(**call | {"inputs": entries(3)}, rounds=6)
    (tmp_path / "r" / "0.json").write_text("{")
    with pytest.raises(InputError, match=r"0.json' is no log of a run, or damaged"):
        make_optimizer().optimize(**call, rounds=6)


def louder(y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 3 * F.cross_entropy(y_pred, y)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"objective": "mistakes"}, "objective was 'loss' and is 'mistakes'"),
        ({"generate_config": {"max_new_tokens": 6}}, "max_new_tokens was 5 and is 6"),
        ({"loss_function": louder}, "loss_function was .* loss_value was"),
        ({"loss_function": torch.nn.CrossEntropyLoss(label_smoothing=0.5)}, "loss_value was"),
        ({"chat_template": "vicuna_v1.1"}, "the chat template changed"),
        ({"chat_template_arguments": {"bos_token": "<|eot_id|>"}}, "the chat template changed"),
    ],
)
def test_resume_refuses_another_search(
    make_optimizer: Any, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    call = {"inputs": entries(2), "p_extractor": EXTRACTOR, "resume": tmp_path, "progress": False}
    usual = {"loss_function": torch.nn.CrossEntropyLoss()} if words == "loss_value was" else {}
    make_optimizer(**usual).optimize(**call, rounds=1)
    with pytest.raises(InputError, match=words):
        make_optimizer(**config).optimize(**call, rounds=1)


KILLED = """
import os, signal, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from GReaTer import GreaterCallback, GreaterOptimizer
from tests.library.conftest import EXTRACTOR, entries

class Deadly(GreaterCallback):
    def on_step(self, step):
        if (step.group, step.index) == (1, 1):
            os.kill(os.getpid(), signal.SIGKILL)

folder, results = sys.argv[1:]
optimizer = GreaterOptimizer(
    AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder),
    {"generate_config": {"max_new_tokens": 5}},
)
outputs = optimizer.optimize(
    entries(3), EXTRACTOR, 3, per_question=True, callbacks=[Deadly()], resume=results
)
"""


def test_resume_after_kill_9(saved_model: Path, tokenizers: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(saved_model), str(tmp_path / "results")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    from transformers import AutoModelForCausalLM

    optimizer = GreaterOptimizer(
        AutoModelForCausalLM.from_pretrained(saved_model),
        tokenizers["llama-3"],
        {"generate_config": {"max_new_tokens": 5}},
    )
    call = {"inputs": entries(3), "p_extractor": EXTRACTOR, "rounds": 3, "per_question": True}
    told = Recorder()
    resumed = optimizer.optimize(
        **call, resume=tmp_path / "results", progress=False, callbacks=[told]
    )
    assert [(step.group, step.index) for step in told.steps] == [(1, 2), (2, 0), (2, 1), (2, 2)]
    whole = optimizer.optimize(**call, progress=False)
    assert without_seconds(resumed) == without_seconds(whole)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"intersect": 5}, "unknown key 'intersect'; did you mean 'intersect_q'"),
        ({"candidates_topk": "10"}, r"'10' is not a whole number; give one \(candidates_topk\)"),
        ({"candidates_topk": 0}, r"0 is too small; give at least 1 \(candidates_topk\)"),
        ({"candidates_topk": 2}, "topk=2 proposes fewer .* shortlist_size=3 tries"),
        ({"perplexity_lambda": True}, r"True is not a number; give one \(perplexity_lambda\)"),
        ({"objective": "accuracy"}, "choose one of mistakes, loss, answers"),
        ({"loss_function": "mse"}, r"'mse' is not a function .* \(loss_function\)"),
        ({"loss_function": torch.nn.NLLLoss(reduction="none")}, "a tensor of shape \\[3\\]"),
        ({"generate_config": {"temprature": 1}}, "'temprature'; did you mean 'temperature'"),
        ({"generate_config": {"top_p": 0}}, r"0.0 is too small; .* \(reasoning.top_p\)"),
        ({"chat_template": "no-such"}, "'no-such' is unknown to fschat"),
    ],
)
def test_wrong_settings(
    make_optimizer: Any, inputs: GreaterDataSet, config: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        make_optimizer(**config).optimize(inputs, EXTRACTOR, 1, progress=False)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"inputs": []}, "inputs is empty"),
        ({"inputs": "a.jsonl"}, "inputs is a str; give a GreaterDataSet"),
        ({"inputs": [{"question": "a", "answer": "b"}]}, "entry 0 of inputs has no prompt"),
        ({"inputs": [*entries(2), *entries(1)]}, "entry 2 of inputs asks the same as entry 0"),
        ({"dev": entries(1)}, "entry 0 of dev asks the same as entry 0 of inputs"),
        ({"dev": entries(1, 9), "test": entries(1, 9)}, "entry 0 of test .* entry 0 of dev"),
        ({"p_init": " "}, "p_init is empty"),
        ({"p_init": "Use"}, "'Use' is a single token"),
        ({"p_extractor": " "}, r"no extractor; .* \(p_extractor and metric\)"),
        ({"rounds": 2.5}, r"2.5 is not a whole number; give one \(rounds\)"),
        ({"p_init": 5}, "p_init is 5; give a string"),
        ({"callbacks": GreaterCallback()}, "callbacks has .* give a list of"),
        ({"callbacks": [print]}, "callbacks has <built-in function print>; give a list of"),
        ({"test": [{"question": "apples " * 600, "answer": "1"}]}, "of test, row 0 needs"),
        ({"rounds": -1}, r"-1 is too small; give at least 0 \(rounds\)"),
    ],
)
def test_wrong_calls(make_optimizer: Any, call: dict[str, Any], words: str) -> None:
    usual = {"inputs": entries(3), "p_extractor": EXTRACTOR, "rounds": 1, "progress": False}
    with pytest.raises(InputError, match=words):
        make_optimizer().optimize(**usual | call)


def test_a_question_longer_than_the_context(make_optimizer: Any) -> None:
    optimizer = make_optimizer(generate_config={"max_new_tokens": 500})
    with pytest.raises(
        InputError, match=r"more than the 512 .*\(generate_config\['max_new_tokens'\]\)"
    ):
        optimizer.optimize(entries(2), EXTRACTOR, 1, progress=False)


def test_nothing_is_computed_before_everything_is_checked(make_optimizer: Any) -> None:
    long = {**entries(1, 9)[0], "question": "How many apples are two apples? " * 60}
    call = {"inputs": entries(2), "p_extractor": EXTRACTOR, "rounds": 3, "progress": False}
    for other in ({"inputs": [*entries(2), long], "per_question": True}, {"test": [long]}):
        told = Recorder()
        with pytest.raises(InputError, match="more than the 512"):
            (optimizer := make_optimizer()).optimize(**call | other, callbacks=[told])
        assert not told.steps and optimizer.outputs.status == "failed"


def test_questions_are_looked_up_as_they_were_given(make_optimizer: Any) -> None:
    given = [entry | {"question": f"  {entry['question']}\n"} for entry in entries(2)]
    outputs = make_optimizer().optimize(given, EXTRACTOR, 0, progress=False)
    assert outputs[given[0]["question"]] == [PROMPT]


def test_a_model_with_a_nested_config(tokenizers: Any) -> None:
    tokenizer = tokenizers["llama-3"]
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "eos_token_id": 1, "bos_token_id": 0, "pad_token_id": None, "initializer_range": 0.3,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    model = Gemma3ForConditionalGeneration(
        Gemma3Config(
            text_config=text, vision_config=vision, image_token_index=419, boi_token_index=418,
            eoi_token_index=417, mm_tokens_per_image=4,
        )
    )  # fmt: skip
    optimizer = GreaterOptimizer(model, tokenizer, {"generate_config": {"max_new_tokens": 4}})
    assert optimizer.optimize(entries(2), EXTRACTOR, 1, progress=False).status == "finished"


def test_what_cannot_be_continued_is_refused_and_left_alone(tokenizers: Any) -> None:
    tokenizer = tokenizers["llama-3"]
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, eos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    model = BertLMHeadModel(config).train()
    with pytest.raises(InputError, match="does not continue cached text"):
        GreaterOptimizer(model, tokenizer).evaluate(PROMPT, entries(2), EXTRACTOR)
    assert model.training and all(parameter.requires_grad for parameter in model.parameters())


def test_other_families_and_base_models(tokenizers: Any, inputs: GreaterDataSet) -> None:
    tokenizer = copy.deepcopy(tokenizers["gemma-2"])
    gemma = tiny_model("gemma-2", len(tokenizer), int(tokenizer.eos_token_id), torch.bfloat16)
    config = {"generate_config": {"max_new_tokens": 5}}
    found = []
    for template in (tokenizer.chat_template, None):
        tokenizer.chat_template = template
        optimizer = GreaterOptimizer(gemma, tokenizer, config)
        found.append(optimizer.optimize(inputs, EXTRACTOR, 2, progress=False))
    assert all(len(outputs.history) == 2 for outputs in found)
    assert found[0].initial[0].loss != found[1].initial[0].loss


def test_models_that_cannot_be_used(model: Any, tokenizers: Any, tmp_path: Path) -> None:
    tokenizer = tokenizers["llama-3"]
    with pytest.raises(InputError, match="model is a Linear, not a causal language model"):
        GreaterOptimizer(torch.nn.Linear(2, 2), tokenizer)
    with pytest.raises(InputError, match="tokenizer is a str; give the model's own"):
        GreaterOptimizer(model, "gpt2")
    larger = tiny_model("llama-3", 2 * len(tokenizer), 1, torch.float32)
    with pytest.raises(InputError, match=r"has 420 tokens and model .* 840, so it does not belong"):
        GreaterOptimizer(larger, tokenizer)
    own = copy.deepcopy(tokenizer)
    own.add_tokens(["<TOOL>"])
    tool = [{**entries(1)[0], "question": "What is <TOOL>?"}]
    with pytest.raises(InputError, match=r"row 0 has the token '<TOOL>' \(420\).* only 420"):
        GreaterOptimizer(model, own).optimize(tool, EXTRACTOR, 1, progress=False)
    default = copy.deepcopy(model)
    default.config.eos_token_id = 50256
    GreaterOptimizer(default, tokenizer)
    stranger = tiny_model("llama-3", len(tokenizer), 300, torch.float32)
    with pytest.raises(InputError, match=r"ends its texts with token 300, which is"):
        GreaterOptimizer(stranger, tokenizer)
    lora = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    with pytest.raises(InputError, match=r"keeps its adapter apart; give model.merge_and_unload"):
        GreaterOptimizer(get_peft_model(copy.deepcopy(model), lora), tokenizer)
    with pytest.raises(InputError, match="has weights on the meta device"):
        GreaterOptimizer(copy.deepcopy(model).to("meta"), tokenizer)

    class Spread(type(model)):  # type: ignore[misc]
        def parameters(self, recurse: bool = True) -> Any:
            return [torch.nn.Parameter(torch.ones(1)), _OnGpu()]

    class _OnGpu:
        device = "cuda:0"

    spread = copy.deepcopy(model)
    spread.__class__ = Spread
    with pytest.raises(InputError, match=r"spread over cpu, cuda:0, .* device_map='auto'"):
        GreaterOptimizer(spread, tokenizer)


def test_a_model_on_several_devices(model: Any, tokenizers: Any) -> None:
    config = {"generate_config": {"max_new_tokens": 4}}
    call = {"inputs": entries(3), "p_extractor": EXTRACTOR, "rounds": 2, "progress": False}
    alone, parted = (
        GreaterOptimizer(each, tokenizers["llama-3"], config).optimize(**call)
        for each in (model, lay_on_both(copy.deepcopy(model)))
    )
    assert [step.tried for step in parted.history] == [step.tried for step in alone.history]
    assert parted.best == alone.best
    assert parted.best_prompt.loss == pytest.approx(alone.best_prompt.loss, abs=1e-4)


def test_one_prompt_for_two_models(model: Any, tokenizers: Any) -> None:
    tokenizer, config = tokenizers["llama-3"], {"generate_config": {"max_new_tokens": 4}}
    other = tiny_model("llama-3", len(tokenizer), int(tokenizer.eos_token_id), torch.float32, 1)
    call = {"inputs": entries(3), "p_extractor": EXTRACTOR, "rounds": 2, "progress": False}
    alone = [
        GreaterOptimizer(each, tokenizer, config).optimize(**call | {"rounds": 0}).initial[0]
        for each in (model, other)
    ]
    both = GreaterOptimizer([model, other], tokenizer, config).optimize(**call)
    assert len(both.history) == 2
    mean = (alone[0].objective + alone[1].objective) / 2
    assert both.initial[0].objective == pytest.approx(mean, rel=1e-5)
    stranger = tokenizers["gemma-2"]
    gemma = tiny_model("gemma-2", len(stranger), int(stranger.eos_token_id), torch.float32)
    with pytest.raises(InputError, match="another tokenizer than"):
        GreaterOptimizer([model, gemma], [tokenizer, stranger], config).optimize(**call)
    with pytest.raises(InputError, match="2 models and 3 tokenizers"):
        GreaterOptimizer([model, other], [tokenizer] * 3)


def test_budgets_ablations_and_methods_are_keys(make_optimizer: Any) -> None:
    call = {"inputs": entries(4), "p_extractor": EXTRACTOR, "rounds": 9, "progress": False}
    assert len(make_optimizer(max_evaluations=20).optimize(**call).history) == 2
    drawn = make_optimizer(shortlist="random").optimize(**call | {"rounds": 3})
    control = make_optimizer(method="random").optimize(**call | {"rounds": 3})
    assert [step.tried for step in drawn.history] == [step.tried for step in control.history]
    raced = make_optimizer(
        method="best_of_n", **{"best_of_n.prompts": ("Count them.", "Add them up, then answer.")}
    ).optimize(**call)
    assert {prompt.text for prompt in raced.prompts} == {PROMPT, "Count them.",
                                                         "Add them up, then answer."}  # fmt: skip
    assert raced.history[0].position is None


def test_held_out_scores_are_kept(
    make_optimizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[str] = []
    held_out = Model.held_out

    def counted(self: Model, template: Any, examples: Any, prompt: str, decoding: Any) -> Any:
        scored.append(prompt)
        return held_out(self, template, examples, prompt, decoding)

    monkeypatch.setattr(Model, "held_out", counted)
    call = {
        "inputs": entries(3), "p_extractor": EXTRACTOR, "rounds": 2, "progress": False,
        "dev": entries(3, 10), "test": entries(4, 20), "resume": tmp_path,
    }  # fmt: skip
    first = make_optimizer().optimize(**call)
    made = len(scored)
    assert made >= 3
    again = make_optimizer().optimize(**call)
    assert len(scored) == made and without_seconds(again) == without_seconds(first)
    # Other held-out rows are scored anew.
    other = make_optimizer().optimize(**call | {"test": entries(2, 30)})
    assert len(scored) > made and other.best_prompt.test.strict.n == 2


def test_a_folder_of_an_older_version_is_refused(make_optimizer: Any, tmp_path: Path) -> None:
    (tmp_path / "optimize.json").write_text("{}")
    with pytest.raises(InputError, match=r"an older version, .* empty folder \(resume\)"):
        make_optimizer().optimize(entries(2), EXTRACTOR, 1, resume=tmp_path, progress=False)


def test_importing_loads_no_torch() -> None:
    code = "import sys, GReaTer; GReaTer.GreaterDataSet; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
