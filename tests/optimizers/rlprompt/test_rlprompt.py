"""The policy on a tiny model, its rewards, and searches for a target that follows a rule."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.engine import Decoding
from prompt_optimization.models.layout import Layout
from prompt_optimization.models.model import Model
from prompt_optimization.optimizers.base import Tools
from prompt_optimization.optimizers.rlprompt.figures import note, points
from prompt_optimization.optimizers.rlprompt.policy import PromptPolicy
from prompt_optimization.optimizers.rlprompt.rewards import Reward
from prompt_optimization.optimizers.rlprompt.search import RlPrompt
from prompt_optimization.optimizers.rlprompt.settings import RlpromptSettings
from prompt_optimization.scoring.scorer import Scorer
from tests.conftest import QUESTIONS, tiny_model
from tests.optimizers.text.planted import Rule, RuleModel
from tests.runs.harness import carry_out

PROMPT = " think step by step"
STEPS = 25


@pytest.fixture(scope="module", params=["llama-3", "gemma-2"])
def folder(
    request: pytest.FixtureRequest, tokenizers: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    made: Path = tmp_path_factory.mktemp("policy")
    tokenizer = tokenizers[request.param]
    eos = int(tokenizer.eos_token_id)
    tiny_model(request.param, len(tokenizer), eos, torch.float32).save_pretrained(made)
    tokenizer.save_pretrained(made)
    return made


@pytest.fixture
def tiny(saved_model: Path) -> Path:
    return saved_model


def policy_of(folder: Path, *, residual: bool = True, fluent: int = 0) -> PromptPolicy:
    return PromptPolicy(str(folder), "cpu", hidden=32, residual=residual, fluent=fluent, seed=3)


def test_what_is_drawn_is_the_text_that_means_it(folder: Path) -> None:
    policy = policy_of(folder, residual=False)
    draws = policy.draw(20, 4, seed=1)
    assert len(draws) == 20 and len({draw.text for draw in draws}) > 10
    for draw in draws:
        assert draw.text == Layout.normalise(draw.text) and len(draw.ids) == 4
        (alone,) = policy.spelling.spelt([draw.ids])
        assert alone == draw
    assert policy.draw(20, 4, seed=1) == draws != policy.draw(20, 4, seed=2)
    # A word in pieces reads as another draw.
    tokens = policy.tokenizer("Answer the apples", add_special_tokens=False)["input_ids"]
    before = policy.tokenizer("Answer the", add_special_tokens=False)["input_ids"]
    assert policy.spelling.spelt([tuple(tokens[len(before) :])])[0] is not None
    letters = [policy.tokenizer.convert_tokens_to_ids(each) for each in "add"]
    assert policy.spelling.spelt([tuple(letters)]) == [None]
    assert not policy.allowed.all()


def test_it_begins_with_the_models_own_words_or_with_any(folder: Path) -> None:
    policy = policy_of(folder)
    states = policy.states([(7, 8)])
    with torch.no_grad():
        ids = torch.tensor([[policy._start, 7, 8]])
        own = policy.language.model(ids).logits
        found = policy.logits(states)
    if hasattr(policy.language.model.config, "final_logit_softcapping"):
        cap = policy.language.model.config.final_logit_softcapping
        own = cap * torch.atanh(own.float() / cap)
    first, later = policy.allowed
    for place, allowed in enumerate((first, later, later)):
        near = own[0, place, allowed].float()
        assert torch.allclose(found[0, place, allowed], near, atol=0.05)
        assert (found[0, place, ~allowed] == -torch.inf).all()
    uniform = policy_of(folder, residual=False)
    shares = uniform.logits(states).softmax(-1)[0, 1, later]
    assert torch.allclose(shares, torch.full_like(shares, 1 / int(later.sum())), rtol=0.01)
    fluent = policy_of(folder, fluent=5).logits(states)
    assert ((fluent > -torch.inf).sum(-1) == 5).all()
    assert torch.equal(fluent.argmax(-1), found.argmax(-1))


def rule_search(folder: Path, rule: Rule, questions: int = 6, **own: Any) -> RlPrompt:
    """A search for a target that answers by ``rule``, after ``start``."""
    scorer = Scorer(
        [cast(Model, RuleModel(rule, questions))], Decoding(4, 4), objective="answers",
        nll_weight=0.0,
    )  # fmt: skip
    settings = RlpromptSettings.default(policy_model=str(folder), device="cpu", hidden=64, **own)
    search = RlPrompt(settings, scorer, Tools(random.Random(1), 1000))
    search.start(PROMPT)
    return search


def apples(words: set[str], question: int) -> bool:
    """Every other question needs two words with an "a", the others one."""
    return sum("a" in word for word in words) > question % 2


@pytest.mark.parametrize(
    "own",
    [
        {
            "algorithm": "policy_gradient",
            "reward": "hit",
            "start": "uniform",
            "learning_rate": 1e-2,
        },
        {"learning_rate": 1e-2},
    ],
    ids=["gradient", "soft_q"],
)
def test_it_learns_what_a_scripted_target_rewards(tiny: Path, own: dict[str, Any]) -> None:
    search = rule_search(tiny, apples, questions=2, prompts_per_step=16, length=2, **own)
    means = []
    for _ in range(STEPS):
        step = search.step()
        assert step is not None
        details = step.details
        means.append(details["mean_reward"])
        # All can be recomputed from the prompts.
        words = [set(text.split()) for text in details["drawn"]]
        hits = [(apples(each, 0) + apples(each, 1)) / 2 for each in words]
        expected = hits if search.settings.reward == "hit" else [2.9 * hit - 2 for hit in hits]
        assert details["rewards"] == pytest.approx(expected)
    assert sum(means[-5:]) / 5 > sum(means[:5]) / 5 + 0.15
    assert search.leaderboard.best.scored.objective == 0.0
    # The prompts with the largest rewards stand for election, best first.
    elected = [{*finalist.name.split()} for finalist in search.finalists()]
    assert elected and all(apples(each, 0) and apples(each, 1) for each in elected)


def test_a_step_that_is_alike_teaches_nothing_and_controls_cost_as_much(tiny: Path) -> None:
    search = rule_search(tiny, lambda words, question: False, control="uniform", length=3)
    before = search.learner.policy.state()
    step = search.step()
    assert step is not None and step.details["skipped"] == 1 and not step.details["learnt"]
    assert "every draw had the same reward, so nothing was learnt" in step.events
    after = search.learner.policy.state()
    assert all(torch.equal(before[name], after[name]) for name in before)
    # The control has as many new prompts as the policy, and none of them is learnt from.
    new, control = {*step.details["drawn"]}, step.details["control"]["drawn"]
    assert len(control) == len(new) and not new & {*control}
    assert search.scorer.ledger.evaluations == 6 * (1 + 2 * len(new))
    assert [*search.contenders()] == ["best of random draws"]
    assert search.best_control is not None and search.best_control.text.strip() in control


def test_the_margin_is_that_of_the_first_tokens(make_scorer: Callable[..., Scorer]) -> None:
    scorer = make_scorer(decoding=Decoding(3, margin=True), objective="mistakes")
    (scored,) = scorer.score([PROMPT + "."])
    model, encoded = scorer.models[0], scorer.encoded
    network = cast(Any, model.executor).worker.model.model
    firsts = sorted({target.answer[0] for target in encoded.targets})
    expected = []
    for row, outcome in enumerate(scored.outcomes):
        ids = [
            *encoded.before[row], *encoded.prompt_ids(PROMPT + "."), *encoded.after[row],
            *outcome.reasoning, *encoded.targets[row].extractor,
        ]  # fmt: skip
        with torch.no_grad():
            shares = network(torch.tensor([ids])).logits[0, -1, firsts].softmax(-1).tolist()
        own = firsts.index(encoded.targets[row].answer[0])
        expected.append(shares[own] - max(s for i, s in enumerate(shares) if i != own))
    assert [each.margin for each in scored.outcomes] == pytest.approx(expected, abs=1e-5)
    rows = scorer.rows()
    shaped = Reward(scorer, "gap", correct=200, incorrect=180)(scored, rows)
    assert shaped == pytest.approx([m * (200 if m > 0 else 180) for m in expected], abs=1e-2)
    assert len({each.answer for each in scorer.examples}) < len(QUESTIONS)
    hits = [float(not each.mistake) for each in scored.outcomes]
    assert Reward(scorer, "hit")(scored, rows) == hits
    less = Reward(scorer, "hit_minus_loss")(scored, rows)
    assert less == [h - each.loss for h, each in zip(hits, scored.outcomes, strict=True)]


def test_the_page_says_whether_the_rewards_have_risen() -> None:
    steps = [{"step": number, "mean_reward": float(number)} for number in range(40)]
    found = points([{"steps": [*steps, {"step": 40}]}])
    assert found[:2] == [(0, 0.0), (1, 1.0)] and len(found) == 40
    assert note(found) == "mean of the first 20: 9.5, of the last 20: 29.5"
    assert note(found[:39]) == ""


def run(small_run: dict[str, Any], place: Path, **own: Any) -> dict[str, Any]:
    flags = {f"rlprompt.{name}": value for name, value in own.items()}
    more = {
        "method": "rlprompt", "n_train_data": 4, "n_dev_data": 0, "n_test_data": 0, "n_steps": 2,
        "max_new_tokens": 2, "result_prefix": place / "run",
    }  # fmt: skip
    return carry_out(small_run | more | flags).data


def test_what_cannot_be_is_refused_in_a_sentence(
    small_run: dict[str, Any], tmp_path: Path, tokenizers: Any
) -> None:
    alike = tmp_path / "alike.csv"
    alike.write_text(
        "goal,target,final_target\n" + "How many?,apples,apples\nHow?,apple,apple\n" * 3
    )
    own = small_run | {"train_data": alike}
    with pytest.raises(InputError, match="begin with the same; take hit") as caught:
        run(own, tmp_path / "gap", reward="gap")
    assert caught.value.keys == ("rlprompt.reward",)
    with pytest.raises(InputError, match="device 'cuda:0'") as caught:
        run(small_run, tmp_path / "gpu", device="cuda:0")
    assert caught.value.keys == ("rlprompt.device",)
    with pytest.raises(InputError, match="longer than the longest that is allowed, 64") as caught:
        run(small_run, tmp_path / "long", length=600)
    assert "rlprompt.length" in caught.value.keys
    numbers = tmp_path / "numbers"
    tokenizer = tokenizers["llama-3"]
    tiny_model("llama-3", 256, 1, torch.float32).save_pretrained(numbers)
    bare = type(tokenizer)(tokenizer_object=only_letters(), eos_token="<end>")
    bare.save_pretrained(numbers)
    with pytest.raises(InputError, match="spells no prompt") as caught:
        run(small_run, tmp_path / "spell", policy_model=str(numbers))
    assert caught.value.keys == ("rlprompt.policy_model",)


def only_letters() -> Any:
    """A tokenizer that knows three letters and nothing else."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel

    made = Tokenizer(WordLevel({"<end>": 0, "x": 1, "y": 2}, unk_token="<end>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made
