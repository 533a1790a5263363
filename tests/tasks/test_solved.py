"""Solved questions before each question, and marks around it: what the template then holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.errors import InputError
from prompt_optimization.runs.config import Plan, make_config, plan, values_of
from prompt_optimization.tasks.open import read_task

SOLVED = [("Two pears?", "2"), ("How many plums?", "12"), ("An apple?", "1")]
TRAIN = [("How many apples?", "3"), ("Three pears?", "3"), ("A plum?", "1")]

FEW = {"evaluate_generated_ins_on_few_shot": True}
# What a log brings along.
OF_TASK = ("template", "task.include_qa", "task.few_shot")


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"input": question, "output": answer}) for question, answer in rows]
    path.write_text("\n".join(lines))


@pytest.fixture
def planned(tmp_path: Path) -> Any:
    """``planned(**settings)``: the plan of a search on files that GPO's tasks have."""
    for split, row in zip(("train", "dev", "test"), TRAIN, strict=True):
        write(tmp_path / f"gpo_gsm8k_{split}.jsonl", [row])
    write(tmp_path / "gpo_gsm8k_few_shot.jsonl", SOLVED)

    def make(**settings: Any) -> Plan:
        config = make_config()
        config.train_data = str(tmp_path / "gpo_gsm8k_train.jsonl")
        config.model_paths = ("a model",)
        config.method = "opro"
        for name, value in settings.items():
            group, _, attribute = name.rpartition(".")
            (config[group] if group else config)[attribute] = value
        return plan(values_of(config))

    return make


def turns(made: Plan) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in json.loads(made.task.template)]


def test_the_first_rows_are_asked_with_the_prompt_in_its_place(planned: Any) -> None:
    """By the names that GPO's code has."""
    shown = {"evaluate_generated_ins_on_few_shot": True, "few_shot_number": 2}
    assert turns(planned(**shown)) == [
        ("user", "Two pears? {prompt}"),
        ("assistant", "2"),
        ("user", "How many plums? {prompt}"),
        ("assistant", "12"),
        ("user", "{question} {prompt}"),
    ]
    system = turns(planned(**shown, template="system"))
    assert system[0] == ("system", "{prompt}") and system[-1] == ("user", "{question}")
    assert [content for _, content in system].count("{prompt}") == 1
    assert planned().task.template == "end"
    # What a log holds of it means the same again.
    again = planned(**{name: planned(**shown).params[name] for name in OF_TASK})
    assert again.task.template == planned(**shown).task.template


@pytest.mark.parametrize(
    ("place", "content"),
    [
        ("Q_end", "Q: {question} {prompt} \nA:"),
        ("Q_begin", "Q: {prompt} {question}\nA:"),
        ("before_Q", "{prompt} \nQ: {question}\nA:"),
        ("A_begin", "Q: {question}\nA: {prompt}"),
    ],
)
def test_question_and_answer_are_marked(planned: Any, place: str, content: str) -> None:
    assert turns(planned(include_qa=True, instruction_pos=place)) == [("user", content)]
    both = turns(planned(include_qa=True, instruction_pos=place, few_shot_number=1, **FEW))
    assert both[0] == ("user", content.replace("{question}", "Two pears?"))


def test_what_cannot_be_shown_is_refused(planned: Any, tmp_path: Path) -> None:
    few_shot = tmp_path / "gpo_gsm8k_few_shot.jsonl"
    with pytest.raises(InputError, match="of your own has its own words") as caught:
        planned(include_qa=True, template='[{"role": "user", "content": "{question} {prompt}"}]')
    assert caught.value.keys == ("task.include_qa", "template")
    write(few_shot, [("What is {prompt}?", "2")])
    with pytest.raises(InputError, match=r"row 0 of the solved questions holds the slot {prompt}"):
        planned(**FEW)
    write(few_shot, SOLVED[:1] + TRAIN[1:2])
    with pytest.raises(InputError, match="row 0 of dev asks the same as row 1 of the solved"):
        read_task(planned(**FEW).task, lambda _: None)
    few_shot.unlink()
    with pytest.raises(InputError, match="few_shot") as caught:
        planned(**FEW)
    assert caught.value.keys == ("task.few_shot_data",)
    other = tmp_path / "mine.jsonl"
    write(other, TRAIN)
    with pytest.raises(InputError, match="has no file of them beside its training file"):
        planned(**FEW, train_data=str(other), extractor_text="It is $")


def test_fewer_than_asked_for_are_said(planned: Any) -> None:
    said: list[str] = []
    read_task(planned(**FEW).task, said.append)
    assert said == ["3 solved questions are shown: their file has no more"]
    assert (
        "few_shot_data has no effect without few_shot"
        in planned(**{"task.few_shot_data": "x.jsonl"}).warnings
    )
