"""Tiny random models of both families, with tokenizers made here: no test downloads anything."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers.models import BPE, WordLevel
from transformers import (
    BertConfig,
    BertModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from prompt_optimization.models.chat import resolve_chat_format
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.model import Model
from prompt_optimization.models.template import PromptTemplate
from prompt_optimization.models.worker import Worker
from prompt_optimization.scoring.scorer import Scorer
from prompt_optimization.tasks.examples import Example
from prompt_optimization.tasks.templates import END, PRESETS, resolved, with_solved

# Tiny matrices gain nothing from a second thread and lose much to its waiting.
torch.set_num_threads(1)
# Where models and tensors of the tests lie that work on any device: see benchmarks/gpu.py.
DEVICE = torch.device(os.environ.get("GREATER_TEST_DEVICE", "cpu"))
if DEVICE.type != "cpu":
    torch.set_default_device(DEVICE)
# How long an example takes depends on what else the machine does.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

FAMILIES = ("llama-3", "gemma-2")

CORPUS = [
    "Use proper logical reasoning and think step by step. Finally give the actual answer.",
    "Therefore, the final answer is $ True or $ False, the number is $ 12 and $ 8.",
    "How many apples and pears do I have? I have two apples, a pear, and three plums.",
    "Tom has 7 apples and buys 5 more. How many apples does Tom have now? user model assistant",
    "not ( True ) and ( False ) is. Use careful thought, count each one, then add them up.",
] * 20

LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim "
    "+ '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' "
    "+ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<start_of_turn>model\n' }}{% endif %}"
)

PROMPT = " proper logical reasoning and think step by step."

# Few-shot turns, and frozen words on both sides of prompt and question.
AROUND = resolved(
    """[
    {"role": "system", "content": "You count."},
    {"role": "user", "content": "Two pears?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "Use {prompt} now: {question} Answer."}
]"""
)
# The prompt stands in two solved questions, too.
SOLVED = with_solved(END, ". Use", [("Two pears?", "2"), ("How many plums?", "12")])
# Every place that a prompt may stand in; that of ``answer`` is after the question, too.
PLACES = [pytest.param(preset, id=preset) for preset in PRESETS if preset != "answer"] + [
    pytest.param(AROUND, id="around"),
    pytest.param(SOLVED, id="solved"),
]

# Reasoning that is long enough to differ between prompts.
REASONING = Decoding(5)

# What the encoder of ``encoder_folder`` distinguishes.
ENCODER_WORDS = "think step by count each one carefully then answer".split()

QUESTIONS = (
    ("Tom has 7 apples and buys 5 more. How many apples does Tom have now?", "12"),
    ("I have two apples and a pear. How many apples do I have?", "2"),
    ("I have a plum, two pears, and three apples. How many do I have?", "6"),
    ("Tom buys 8 pears and has 4 more. How many pears does Tom have?", "12"),
    ("How many plums are two plums and three plums?", "5"),
    ("Tom has 9 plums. How many has he?", "9"),
)


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """Like Llama-3's: byte-level BPE after a pattern that keeps digits apart from words."""
    tokenizer = Tokenizer(BPE())
    pattern = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|eot_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
    ]
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=420,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        additional_special_tokens=special[2:],
    )
    made.chat_template = LLAMA_TEMPLATE
    return made


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """Like Gemma's: spaces written as a character of their own, with bytes to fall back on."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=420,
            special_tokens=[*special, "\n", *(f"<0x{byte:02X}>" for byte in range(256))],
            show_progress=False,
        ),
    )
    # The trainer takes all of these for special, and a special token is no part of an answer.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [one for one in state["added_tokens"] if one["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=special[4:],
    )
    made.chat_template = GEMMA_TEMPLATE
    return made


def tiny_model(family: str, vocabulary: int, eos: int, dtype: torch.dtype, seed: int = 0) -> Any:
    """A random model of the family's architecture, sharp enough to have opinions."""
    torch.manual_seed(seed)
    common = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 0,
        "eos_token_id": eos,
        "pad_token_id": None,
        "initializer_range": 0.3,
    }
    with torch.device("cpu"):  # whose generator makes the same weights wherever the tests run
        if family == "llama-3":
            model = LlamaForCausalLM(LlamaConfig(**common))
        else:
            model = Gemma2ForCausalLM(
                Gemma2Config(**common, head_dim=8, query_pre_attn_scalar=8, sliding_window=24)
            )
    return model.to(DEVICE, dtype)


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {"llama-3": byte_level_tokenizer(), "gemma-2": sentencepiece_tokenizer()}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_model(tokenizers: dict[str, Any]) -> Callable[..., LanguageModel]:
    """``make_model(family, dtype, seed)``: a fresh tiny model with its tokenizer."""

    def make(
        family: str = "llama-3", dtype: torch.dtype = torch.float32, seed: int = 0
    ) -> LanguageModel:
        tokenizer = tokenizers[family]
        model = tiny_model(family, len(tokenizer), int(tokenizer.eos_token_id), dtype, seed)
        return LanguageModel(model, tokenizer, name=f"tiny-{family}")

    return make


@pytest.fixture
def make_samples() -> Callable[..., CachedExamples]:
    """``make_samples(model, n, prompt, extractor, template)``: the first ``n`` questions, laid
    out."""

    def make(
        model: LanguageModel,
        n: int = 6,
        prompt: str = PROMPT,
        extractor: str = "Therefore, the final answer is $",
        template: str = END,
    ) -> CachedExamples:
        chat = resolve_chat_format(model.tokenizer)
        layout = Layout(model.tokenizer, chat, extractor=extractor, template=template)
        examples = [Example(q, a, row) for row, (q, a) in enumerate(QUESTIONS[:n])]
        return CachedExamples(model, layout, examples, prompt)

    return make


@pytest.fixture
def make_answerer(make_samples: Any) -> Callable[..., Model]:
    """``make_answerer(model, n, prompt, template)``: one copy of ``model`` on ``make_samples``'
    examples."""

    def make(model: LanguageModel, n: int = 6, prompt: str = PROMPT, template: str = END) -> Model:
        samples = make_samples(model, n=n, prompt=prompt, template=template)
        layout = samples.layout
        texts = layout.extractor, layout.connector, layout.separator
        template_of = PromptTemplate(*texts, template)
        made = Model.in_process(Worker(model, layout.chat, max_rows=64, gradient_rows=4))
        made.train_on(template_of, samples.examples, prompt)
        return made

    return make


@pytest.fixture
def make_scorer(make_model: Any, make_answerer: Any) -> Callable[..., Scorer]:
    """``make_scorer(*models, n, prompt, decoding, **settings)``: scores prompts on ``n`` examples;
    without ``models`` with a fresh one."""

    def make(
        *models: LanguageModel,
        n: int = 6,
        prompt: str = PROMPT,
        decoding: Decoding = REASONING,
        objective: str = "loss",
        nll_weight: float = 0.02,
        written: bool = False,
        template: str = END,
        keep: tuple[str, ...] = (),
    ) -> Scorer:
        given = models or (make_model(),)
        answerers = [make_answerer(model, n, prompt, template) for model in given]
        return Scorer(
            answerers,
            decoding,
            objective=objective,
            nll_weight=nll_weight,
            written=written,
            keep=keep,
        )

    return make


@pytest.fixture(scope="session")
def saved_model(
    tokenizers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder that ``from_pretrained`` loads."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tokenizers["llama-3"]
    tiny_model(
        "llama-3", len(tokenizer), int(tokenizer.eos_token_id), torch.float32
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    yield folder


@pytest.fixture(scope="session")
def small_run(saved_model: Path, task_file: Path) -> dict[str, Any]:
    """Flags of a run that takes seconds; without a place for its results."""
    return {
        "train_data": task_file,
        "extractor_text": "Therefore, the final answer is $",
        "model_paths": saved_model,
        "devices": "cpu",
        "dtype": "float32",
        "n_train_data": 6,
    }


@pytest.fixture(scope="session")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "task.json"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["goal", "target", "final_target"])
        for round_ in range(8):
            for question, answer in QUESTIONS:
                writer.writerow([f"Question {round_}. {question}", answer, answer])
    return path


@pytest.fixture(scope="session")
def grouped_file(task_file: Path) -> Path:
    """The same rows, of two groups by turns."""
    path = task_file.with_name("grouped.csv")
    with task_file.open(newline="") as file:
        header, *lines = csv.reader(file)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*header, "group"])
        writer.writerows([*line, str(row % 2)] for row, line in enumerate(lines))
    return path


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of a few thousand numbers with a vocabulary of ``ENCODER_WORDS``."""
    folder = tmp_path_factory.mktemp("encoder")
    tokens = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *ENCODER_WORDS)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    return folder
