"""The class of an exported task: lm-evaluation-harness imports it, and nothing else does.

A row is asked as a run asks it: the model reasons, then the extractor is written after its
reasoning and it states the answer. lm-eval has no request of two stages. So the first stage is
made where a task builds its requests, by the model whose ``apply_chat_template`` the task is
given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import Task
from lm_eval.config.task import TaskConfig

from prompt_optimization.tasks.metrics.registry import METRICS, Options
from prompt_optimization.tasks.table import Example
from prompt_optimization.tasks.templates import Turn, filled

# Read beside the metric that counts.
ALWAYS = ("strict", "flexible")


class ExportedTask(Task):
    """One prompt on the rows that it was measured on."""

    OUTPUT_TYPE = "generate_until"

    def __init__(self, config: dict[str, Any]) -> None:
        """
        Args:
            config: the YAML file as lm-eval reads it.
        """
        super().__init__()
        self._config = TaskConfig(**{key: value for key, value in config.items() if key != "class"})
        told = config["metadata"]
        self.VERSION = told["version"]
        self.told = told
        self.turns = tuple(Turn(**turn) for turn in told["turns"])
        lines = (Path(told["config_source"]).parent / told["rows"]).read_text(encoding="utf-8")
        self.docs = [json.loads(line) for line in lines.split("\n") if line]
        options = Options(**told["metric_options"])
        names = ALWAYS if told["extractor"] else ()
        self.metrics = {name: METRICS[name](options) for name in (*names, told["metric"])}

    def download(self, *arguments: Any, **named: Any) -> None:
        """The rows lie beside the YAML file."""

    def has_training_docs(self) -> bool:
        return False

    def has_validation_docs(self) -> bool:
        return False

    def has_test_docs(self) -> bool:
        return True

    def test_docs(self) -> list[dict[str, Any]]:
        return self.docs

    def doc_to_text(self, doc: dict[str, Any]) -> str:
        return str(doc["question"])

    def doc_to_target(self, doc: dict[str, Any]) -> str:
        return str(doc["references"][0])

    def fewshot_context(
        self,
        doc: dict[str, Any],
        num_fewshot: int,
        *,
        system_instruction: str | None = None,
        chat_template: Callable[..., str] | None = None,
        **more: Any,
    ) -> str:
        """All that the model reads before it reasons.

        Raises:
            ValueError: lm-eval was called in a way in which the prompt would be read elsewhere.
        """
        if chat_template is None:
            raise ValueError("an exported prompt stands in a chat; add --apply_chat_template")
        if system_instruction is not None:
            raise ValueError("a system instruction would change the chat; leave it out")
        chat = filled(self.turns, question=doc["question"])
        text = chat_template([{"role": turn.role, "content": turn.content} for turn in chat])
        if not isinstance(text, str):
            raise ValueError("this model takes a chat and no text, so it cannot be asked twice; "
                             "use a model that is loaded, such as hf or vllm")  # fmt: skip
        if missing := [turn for turn in chat if turn.content.strip() not in text]:
            raise ValueError(f"the model's chat template leaves out the turn of the "
                             f"{missing[0].role} or changes it")  # fmt: skip
        return text

    def construct_requests(
        self, doc: dict[str, Any], ctx: str, *, metadata: Any, **more: Any
    ) -> Instance:
        asked = ctx, self._limits("reasoning_tokens")
        return Instance("generate_until", doc, asked, idx=0, metadata=metadata)

    def build_all_requests(
        self, *, chat_template: Callable[..., str] | None = None, **more: Any
    ) -> None:
        super().build_all_requests(chat_template=chat_template, **more)
        if not self.told["extractor"]:
            return
        model: Any = getattr(chat_template, "__self__", None)
        if not hasattr(model, "generate_until"):
            raise ValueError("this version of lm-eval does not let a task reach its model; "
                             "version 0.4.13 does")  # fmt: skip
        reasonings: Sequence[str] = model.generate_until(self.instances)
        for instance, reasoning in zip(self.instances, reasonings, strict=True):
            text = instance.arguments[0] + reasoning + self.told["extractor"]
            instance.arguments = text, self._limits("answer_tokens")

    def process_results(self, doc: dict[str, Any], results: Sequence[str]) -> dict[str, Any]:
        first, *others = doc["references"]
        example = Example(doc["question"], first, doc["row"], tuple(others), doc["weight"])
        return {
            name: (metric.value(results[0], example), example.weight)
            for name, metric in self.metrics.items()
        }

    def aggregation(self) -> dict[str, Callable[[Sequence[tuple[float, float]]], float]]:
        return dict.fromkeys(self.metrics, weighted_mean)

    def higher_is_better(self) -> dict[str, bool]:
        return dict.fromkeys(self.metrics, True)

    def _limits(self, tokens: str) -> dict[str, Any]:
        limits = {"until": list(self.told["until"]), "max_gen_toks": self.told[tokens]}
        return limits | {"do_sample": False}


def weighted_mean(values: Sequence[tuple[float, float]]) -> float:
    """The mean of pairs of value and weight."""
    return sum(value * weight for value, weight in values) / sum(w for _, w in values)
