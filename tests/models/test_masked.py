"""Masked models as scorers: equal to one plain reading a row, and to themselves after a kill."""

from __future__ import annotations

import json
import math
import signal
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import (
    AddedToken,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import resolve_chat_format
from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.executor import InProcessExecutor
from prompt_optimization.models.masked import MaskedTemplate
from prompt_optimization.models.model import Model
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.models.worker import Worker
from prompt_optimization.runs.store.log import RunLog
from prompt_optimization.tasks.examples import Example
from tests.conftest import CORPUS
from tests.runs.harness import carry_out, die_at_write, outcome, session, without_times

# None of them is the likeliest of all words; only their shares among each other count.
WORDS = {"many": "apples", "few": "pears", "one": "plums"}
TEMPLATE = "{question} {prompt} {mask} ."
ASKED = (
    ("Tom has 7 apples and buys 5 more.", "many"),
    ("I have a pear.", "one"),
    ("How many apples do I have? I have two apples, a pear, and three plums.", "many"),
    ("Two plums?", "few"),
)
PROMPTS = (" think step by step.", " careful thought", " Use proper logical reasoning")


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random RoBERTa with a tokenizer of its kind: the mask takes the space before it."""
    folder = tmp_path_factory.mktemp("roberta")
    tokenizer = Tokenizer(BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[
            *("<s>", "<pad>", "</s>", "<unk>"),
            AddedToken("<mask>", lstrip=True, special=True),
        ],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=False
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", cls_token="<s>", eos_token="</s>",
        sep_token="</s>", pad_token="<pad>", unk_token="<unk>",
        mask_token="<mask>",
    )  # fmt: skip
    made.save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(made), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, initializer_range=0.7, max_position_embeddings=130,
        bos_token_id=0, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def scorer(folder: Path, template: str = TEMPLATE, max_rows: int = 64) -> Model:
    settings = ModelSettings(str(folder), device="cpu", dtype="float32", masked=True)
    model = Model.in_process(Worker.load(settings, max_rows, 0))
    examples = [Example(question, answer, row) for row, (question, answer) in enumerate(ASKED)]
    words = tuple(sorted(WORDS.items()))
    model.train_on(MaskedTemplate("", "", "", template, words=words), examples, PROMPTS[0])
    return model


def outcomes(model: Model) -> list[list[Outcome]]:
    ids = [model.training.prompt_ids(prompt) for prompt in PROMPTS]
    return model.submit_run(ids, Decoding(1), range(len(ASKED))).result()


@pytest.mark.parametrize("template", [TEMPLATE, " {mask} : {prompt} {question}"])
def test_a_row_is_worth_the_shares_of_the_words_at_the_mask(roberta: Path, template: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(roberta)
    network = AutoModelForMaskedLM.from_pretrained(roberta).eval()
    words = {
        answer: tokenizer.encode(" " + word, add_special_tokens=False)
        for answer, word in WORDS.items()
    }
    assert all(len(ids) == 1 for ids in words.values())
    found = outcomes(scorer(roberta, template))
    for prompt, rows in zip(PROMPTS, found, strict=True):
        for (question, answer), row in zip(ASKED, rows, strict=True):
            text = template.format(question=question, prompt=prompt.strip(), mask="<mask>")
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            place = int((ids[0] == tokenizer.mask_token_id).nonzero())
            with torch.no_grad():
                logits = network(ids).logits[0, place]
            total = sum(math.exp(float(logits[one[0]])) for one in words.values())
            shares = {a: math.exp(float(logits[one[0]])) / total for a, one in words.items()}
            likeliest = max(shares, key=lambda each: shares[each])
            rest = max(share for each, share in shares.items() if each != answer)
            assert row.loss == pytest.approx(-math.log(shares[answer]), rel=1e-4)
            assert row.margin == pytest.approx(shares[answer] - rest, abs=1e-5)
            assert (row.answer, row.mistake) == (likeliest, likeliest != answer)
            assert row.reasoning == () and row.nll == 0
    assert len({row.answer for rows in found for row in rows}) > 1


def test_neither_padding_nor_batches_change_it(roberta: Path) -> None:
    alone, together = outcomes(scorer(roberta, max_rows=1)), outcomes(scorer(roberta))
    for one, other in zip(chain(*alone), chain(*together), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
        assert (other.answer, other.mistake) == (one.answer, one.mistake)


def test_a_tie_is_wrong(roberta: Path) -> None:
    model = scorer(roberta)
    worker = cast(InProcessExecutor, model.executor).worker
    many, few, one = (model.training.layout.labels[each] for each in ("many", "few", "one"))
    head = worker.model.model.lm_head
    head.decoder.weight.data[few] = head.decoder.weight.data[many]
    head.decoder.bias.data[[many, few, one]] = torch.tensor([0.0, 0.0, -1e3])
    for rows in outcomes(model):
        assert all(row.mistake and row.answer == "" for row in rows)
        assert rows[0].loss == pytest.approx(math.log(2)) and rows[0].margin == pytest.approx(0)


@pytest.fixture(scope="module")
def flags(roberta: Path, saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Of a run of RLPrompt that takes seconds; without a place for its results."""
    table = tmp_path_factory.mktemp("task") / "task.csv"
    lines = [f'"{number}: {question}",{answer}' for number in "345" for question, answer in ASKED]
    table.write_text("\n".join(["question,answer", *lines]))
    return {
        "train_data": table, "model_paths": roberta, "model.label_words": WORDS,
        "devices": "cpu", "dtype": "float32", "method": "rlprompt", "control_init": "careful",
        "rlprompt.policy_model": saved_model, "rlprompt.length": 2,
        "rlprompt.behaviour": "published", "rlprompt.prompts_per_step": 3, "rlprompt.hidden": 16,
        "n_train_data": 6, "n_dev_data": 3, "n_test_data": 3, "n_steps": 3, "resume": "auto",
    }  # fmt: skip


def log_below(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


def test_a_run_that_was_killed_is_the_same(flags: dict[str, Any], tmp_path: Path) -> None:
    carry_out(flags | {"result_prefix": tmp_path / "whole" / "run"})
    whole = log_below(tmp_path / "whole")
    assert whole["status"] == "finished" and len(whole["steps"]) == 3
    assert all(-180 <= each <= 200 for step in whole["steps"] for each in step["rewards"])
    assert any(step["learnt"] for step in whole["steps"])
    own, killed = flags | {"result_prefix": tmp_path / "killed" / "run"}, 0
    while (code := outcome(session(own, partial(die_at_write, 3 + killed % 4, killed % 3)))) != 0:
        assert code == -signal.SIGKILL
        killed += 1
    assert killed > 1
    assert without_times(log_below(tmp_path / "killed")) == without_times(whole)


def test_given_prompts_are_raced(flags: dict[str, Any], tmp_path: Path) -> None:
    more = {"method": "best_of_n", "best_of_n.prompts": [each.strip() for each in PROMPTS]}
    log: RunLog = carry_out(flags | more | {"result_prefix": tmp_path / "run"})
    (step,) = log.data["steps"]
    assert {each["prompt"].strip() for each in step["tried"]} == {p.strip() for p in PROMPTS}
    assert log.data["evaluation"]["test"]["best"]["loss"] > 0


@pytest.mark.parametrize(
    ("own", "problem", "key"),
    [
        ({"method": "greater"}, "needs models that write.*best_of_n, .*rlprompt", "method"),
        ({"rlprompt.policy_model": ""}, "name a causal model", "rlprompt.policy_model"),
        ({"model.label_words": {"many": "apples"}}, "only answer that has", "model.label_words"),
        ({"model.label_words": WORDS | {"one": "marmalade"}}, "not one token", "model.label_words"),
        ({"model.label_words": WORDS | {"one": "pears"}}, "the same token", "model.label_words"),
        ({"model.label_words": {"many": "apples", "few": "pears"}}, "'one'", "model.label_words"),
        ({"model.label_words": WORDS | {"one": 3}}, "is 3; give one word", "model.label_words"),
        ({"model.masked_template": "{question} {prompt}"}, "0 times", "model.masked_template"),
        ({"model.masked_template": "{question} {mask}"}, "{prompt}", "model.masked_template"),
        ({"control_init": "a <mask> here"}, "holds the mask", "control_init"),
        ({"control_init": "a " * 130}, "more than the 128 of", "max_prompt_tokens"),
        ({"model.label_words": {}, "extractor_text": "So"}, "is a masked model", "model_paths"),
    ],
)
def test_what_cannot_be_is_refused(
    flags: dict[str, Any], tmp_path: Path, own: dict[str, Any], problem: str, key: str
) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        carry_out(flags | own | {"result_prefix": tmp_path / "run"})
    assert key in caught.value.keys
    assert not list(tmp_path.glob("*.json"))


def test_a_causal_model_fills_no_mask(
    flags: dict[str, Any], saved_model: Path, tmp_path: Path
) -> None:
    own = {"model_paths": saved_model, "result_prefix": tmp_path / "run"}
    with pytest.raises(InputError, match="of the kind llama, which fills no mask") as caught:
        carry_out(flags | own)
    assert "model_paths" in caught.value.keys
    causal = AutoTokenizer.from_pretrained(saved_model)
    template = MaskedTemplate("", "", "", TEMPLATE, words=tuple(WORDS.items()))
    with pytest.raises(InputError, match="this model is none"):  # a model that a user hands over
        template.layout(causal, resolve_chat_format(causal))
