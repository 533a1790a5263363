"""A real model that thinks between tags: its chat template shows it how, and opens the thinking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prompt_optimization.models.bundled import ensure_bundled
from prompt_optimization.runs.display import Display
from prompt_optimization.runs.evaluate import evaluate
from prompt_optimization.runs.evaluation_jobs import Request
from tests.runs.harness import values

SHOWN = [
    ("Tom has 7 apples and buys 5 more. How many apples does Tom have now?", "7 + 5 = 12", "12"),
    ("Each of 3 children brings 4 eggs. How many eggs are there in all?", "3 * 4 = 12", "12"),
]
TURN = "<|im_start|>{}\n{}<|im_end|>\n"
TEMPLATE = (
    "".join(
        TURN.format("user", question)
        + TURN.format("assistant", f"<think>\n{thinking}\n</think>\n\n{answer}")
        for question, thinking, answer in SHOWN
    )
    + "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] "
    + "+ '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n<think>\n' }}"
)
ROWS = [
    ("Each of 6 children brings 11 peaches. How many peaches are there in all?", "66"),
    ("Bruno picks 12 leeks and Wanda picks 5. How many leeks is that together?", "17"),
    ("Nora has 13 limes and gives 4 of them away. How many limes are left?", "9"),
]
PROMPT = " think step by step."
EXTRACTOR = "Therefore, the final answer is $"


def outputs(folder: Path, **flags: Any) -> list[dict[str, Any]]:
    """What an evaluation of ``PROMPT`` on ``ROWS`` has the model write."""
    task = folder / "task.jsonl"
    task.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in ROWS))
    flags |= {
        "train_data": task, "n_train_data": len(ROWS), "n_dev_data": 0, "n_test_data": 0,
        "devices": "cpu", "dtype": "float32", "result_prefix": folder / "r",
        "tokenizer_kwargs": ({"chat_template": TEMPLATE},),
    }  # fmt: skip
    request = Request(prompts=(PROMPT,), split="train")
    evaluate(values(flags), set(), request, Display(verbose=False))
    return list(map(json.loads, (folder / "r.outputs.jsonl").read_text().splitlines()))


@pytest.mark.smollm2
def test_thinking_that_the_limit_cuts_is_ended_before_the_extractor(tmp_path: Path) -> None:
    found = outputs(tmp_path, extractor_text=EXTRACTOR, max_new_tokens=12, answer_tokens=4)
    tokenizer = AutoTokenizer.from_pretrained(ensure_bundled(), chat_template=TEMPLATE)
    model = AutoModelForCausalLM.from_pretrained(ensure_bundled(), dtype=torch.float32)
    cut = 0
    for record in found:
        words = [{"role": "user", "content": f"{record['question']}. Use{PROMPT}"}]
        text = tokenizer.apply_chat_template(words, tokenize=False) + record["reasoning"]
        if "</think>" not in record["reasoning"]:
            text, cut = text + "\n</think>\n\n", cut + 1
        ids = tokenizer(text + " " + EXTRACTOR, return_tensors="pt")
        said = model.generate(**ids, max_new_tokens=4, do_sample=False)[
            0, ids["input_ids"].shape[1] :
        ]
        assert record["answer"] == tokenizer.decode(said, skip_special_tokens=True)
    assert 0 < cut < len(found) and any(record["strict"] for record in found)


@pytest.mark.smollm2
def test_free_text_is_what_follows_the_thinking(tmp_path: Path) -> None:
    found = outputs(tmp_path, extractor_text="", metric="f1", max_new_tokens=18)
    for record in found:
        _, closed, after = record["reasoning"].partition("</think>")
        assert record["answer"] == (after if closed else "")
    assert any(record["answer"] for record in found)
