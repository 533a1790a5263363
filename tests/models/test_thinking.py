"""Models that think between tags: the extractor and the answer stand after the thinking."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import resolve_chat_format
from prompt_optimization.models.encoded import CachedExamples
from prompt_optimization.models.engine import Decoding, Engine
from prompt_optimization.models.language_model import LanguageModel
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.memory import RowBudget
from prompt_optimization.models.settings import ReasoningSettings
from prompt_optimization.models.thinking import Thinking
from prompt_optimization.optimizers.greater.differentiate import LossWeights, token_gradients
from prompt_optimization.tasks.examples import Example
from tests import plain
from tests.conftest import QUESTIONS, byte_level_tokenizer, tiny_model
from tests.models.chat_templates import CHATML, DEEPSEEK_R1, MARKS, QWEN_3, THINKING_MARKS
from tests.models.tokenizer_kinds import make_tokenizer

EXTRACTOR = "Therefore, the final answer is $"
EXAMPLES = [Example(question, answer, row) for row, (question, answer) in enumerate(QUESTIONS)]
PROMPT = " think step by step"


def thinking_tokenizer(template: str) -> PreTrainedTokenizerFast:
    tokenizer = copy.deepcopy(make_tokenizer("byte-level, Llama-3", added="nothing"))
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [*MARKS, *THINKING_MARKS]}, replace_extra_special_tokens=False
    )
    if template != CHATML:
        tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def make_thinker() -> Callable[..., CachedExamples]:
    """``make_thinker(template, arguments, think_end)``: examples as a model reads them that writes
    the tags where it would have written other tokens."""

    def make(
        template: str, think_end: str = "auto", extractor: str = EXTRACTOR, **arguments: Any
    ) -> CachedExamples:
        tokenizer = thinking_tokenizer(template)
        net = tiny_model("llama-3", len(tokenizer), tokenizer.eos_token_id, torch.float32)
        model = LanguageModel(net, tokenizer, name="tiny")
        chat = resolve_chat_format(tokenizer, "auto", arguments)
        texts = {"extractor": extractor, "template": "system", "think_end": think_end}
        layout = Layout(tokenizer, chat, **texts)
        samples = CachedExamples(model, layout, EXAMPLES, PROMPT)
        if template == CHATML:
            return samples
        prompt = samples.prompt_ids(PROMPT)
        written = [plain.reason(model, samples, prompt, s, 12) for s in range(len(EXAMPLES))]
        head = net.get_output_embeddings().weight
        # The first token of some rows, and a later one of some.
        for tag, token in (("<think>", written[0][0]), ("</think>", written[1][3])):
            rows = [tokenizer.convert_tokens_to_ids(tag), token]
            with torch.no_grad():
                head[rows] = head[rows[::-1]]
        return CachedExamples(model, layout, EXAMPLES, PROMPT)

    return make


@pytest.mark.parametrize(
    ("template", "arguments", "begins"),
    [
        (QWEN_3, {}, "assistant\n"),
        (QWEN_3, {"enable_thinking": False}, "<think>\n\n</think>\n\n"),
        (DEEPSEEK_R1, {}, "<think>\n"),
    ],
    ids=["Qwen3", "Qwen3, not thinking", "DeepSeek-R1"],
)
def test_answers_stand_after_the_thinking(
    make_thinker: Any, template: str, arguments: dict[str, Any], begins: str
) -> None:
    samples = make_thinker(template, **arguments)
    model, tokenizer = samples.model, samples.model.tokenizer
    prompt = samples.prompt_ids(PROMPT)
    suffix = tokenizer.decode(samples.after[0])
    assert suffix.endswith(begins)
    (outcomes,) = Engine(model, 64).run(samples, [prompt], Decoding(8, answer_tokens=3))
    ending = tokenizer("\n</think>\n\n", add_special_tokens=False)["input_ids"]
    cut = 0
    for sample, outcome in enumerate(outcomes):
        assert outcome.reasoning == plain.reason(model, samples, prompt, sample, 8)
        text = suffix + tokenizer.decode(outcome.reasoning)
        is_open = "<think>" in text.rpartition("</think>")[2]
        cut += is_open
        context = [*samples.before[sample], *prompt, *samples.after[sample], *outcome.reasoning]
        context += [*(ending if is_open else []), *samples.targets[sample].extractor]
        answer = torch.tensor(samples.targets[sample].answer)
        scores = plain.logits(model, [*context, *answer])[len(context) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(scores, answer)
        assert outcome.loss == pytest.approx(float(loss), rel=1e-4)
        # Room for the longest reference and the token that ends it.
        limit = max(3, 1 + max(len(target.answer) for target in samples.targets))
        written = tokenizer.decode(plain.continued(model, context, limit), skip_special_tokens=True)
        thinks = "<think>" in written.rpartition("</think>")[2]
        assert outcome.answer == ("" if thinks else written.rpartition("</think>")[2])
    # DeepSeek-R1's template opens the thinking of all rows; the model opens and closes some itself.
    assert 0 < cut < len(outcomes)


def test_a_reasoning_that_is_the_answer_is_read_after_the_thinking(make_thinker: Any) -> None:
    samples = make_thinker(DEEPSEEK_R1, extractor="")
    decode = samples.model.tokenizer.decode
    engine, prompt = Engine(samples.model, 64), samples.prompt_ids(PROMPT)
    (outcomes,) = engine.run(samples, [prompt], Decoding(8, answer_tokens=3))
    for outcome in outcomes:
        text = "<think>\n" + decode(outcome.reasoning, skip_special_tokens=True)
        said = text.rpartition("</think>")[2]
        assert outcome.answer == ("" if "<think>" in said else said)
    assert len({bool(outcome.answer) for outcome in outcomes}) == 2


def test_the_gradient_passes_the_end_of_the_thinking(make_thinker: Any) -> None:
    samples = make_thinker(DEEPSEEK_R1)
    prompt = samples.prompt_ids(PROMPT)
    reasonings = [(30, 31, 32), (40,), ()]

    def gradients(given: Any) -> torch.Tensor:
        return token_gradients(
            samples.model,
            samples,
            range(3),
            prompt,
            1,
            [50, 60],
            given,
            LossWeights(),
            RowBudget(2),
        )

    assert samples.layout.thinking is not None
    ended = [(*reasoning, *samples.layout.thinking.ids) for reasoning in reasonings]
    assert torch.equal(gradients(reasonings), gradients(ended))


def test_a_model_without_tags_is_read_as_ever(make_thinker: Any) -> None:
    samples = make_thinker(CHATML)
    assert samples.layout.thinking is None and samples.ending(0, (30, 31)) == ()
    # Tags that are no tokens of their own are found in the text.
    samples = make_thinker(CHATML, think_end=r"\n</think>\n\n")
    encode = samples.model.tokenizer
    opened = tuple(encode("<think>\nHow many", add_special_tokens=False)["input_ids"])
    closed = tuple(encode("<think>a</think> b", add_special_tokens=False)["input_ids"])
    ending = samples.ending(0, opened)
    assert encode.decode(ending) == "\n</think>\n\n"
    assert samples.ending(0, closed) == samples.ending(0, ()) == ()


def test_the_end_leaves_the_extractor_its_tokens() -> None:
    tokenizer = thinking_tokenizer(DEEPSEEK_R1)
    chat = resolve_chat_format(tokenizer)
    assert chat.think_tag == "</think>"
    assert Layout(tokenizer, chat, extractor="So $", think_end="").thinking is None
    # This one's pieces of white space hold the space before the extractor, too.
    other = byte_level_tokenizer()
    other.add_tokens(["</think>"])
    for each, ending in ((tokenizer, "\n</think>\n\n"), (other, "\n</think>")):
        thinking = Layout(each, resolve_chat_format(each), extractor=EXTRACTOR).thinking
        assert thinking is not None and thinking.ending == ending
    chat = resolve_chat_format(other)
    with pytest.raises(InputError, match=r"'</think>\\n', melts into the reasoning or the"):
        Layout(other, chat, extractor=EXTRACTOR, think_end=r"</think>\n")


def test_a_template_that_only_opens_the_thinking() -> None:
    tokenizer = byte_level_tokenizer()
    assert resolve_chat_format(tokenizer).think_tag == ""
    tokenizer.chat_template += "<think>\n"
    assert resolve_chat_format(tokenizer).think_tag == "</think>"


def test_thinking_that_is_no_tag_is_refused() -> None:
    with pytest.raises(InputError, match=r"'Enough\.' does not hold one closing tag") as caught:
        ReasoningSettings.default(think_end="Enough.")
    assert caught.value.keys == ("reasoning.think_end",)


@pytest.mark.parametrize("special", [False, True])
def test_tags_may_be_special_tokens(special: bool) -> None:
    tokenizer = thinking_tokenizer(CHATML)
    tokenizer.add_tokens(["[THINK]", "[/THINK]"], special_tokens=special)
    net = tiny_model("llama-3", len(tokenizer), tokenizer.eos_token_id, torch.float32)
    model = LanguageModel(net, tokenizer, name="tiny")
    layout = Layout(tokenizer, resolve_chat_format(tokenizer), extractor="")
    samples = CachedExamples(model, layout, EXAMPLES, PROMPT)
    said = "<|im_start|>[THINK]7 and 5[/THINK]12<|im_end|>"
    ids = tuple(tokenizer(said, add_special_tokens=False)["input_ids"])
    assert Engine(model, 64)._texts(samples, [ids, ids[:3]]) == ["12", ""]


def test_words_may_stand_around_the_tag() -> None:
    tokenizer = thinking_tokenizer(QWEN_3)
    words = r"\nTime is up, so I answer now.\n</think>\n\n"
    assert ReasoningSettings.default(think_end=words).think_end == words
    chat = resolve_chat_format(tokenizer)
    thinking = Layout(tokenizer, chat, extractor=EXTRACTOR, think_end=words).thinking
    assert thinking is not None and (thinking.opening, thinking.closing) == ("<think>", "</think>")
    assert tokenizer.decode(thinking.ids) == "\nTime is up, so I answer now.\n</think>\n\n"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("12", "12"),
        ("<think>7 and 5</think> 12", " 12"),
        ("7 and 5</think>12", "12"),
        ("<think>7 and 5", ""),
        ("<think>a</think>b<think>c", ""),
    ],
)
def test_what_is_spoken(text: str, spoken: str) -> None:
    thinking = Thinking("\n</think>\n\n", ())
    assert thinking.spoken(text) == spoken
    assert thinking.is_open(text) == (not spoken)
