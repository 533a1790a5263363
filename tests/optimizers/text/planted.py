"""A model that is right by a rule, and a writer that edits words: searches that take no time."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from prompt_optimization.models.engine import Decoding, Outcome
from prompt_optimization.models.executor import Future
from prompt_optimization.models.layout import Ids
from prompt_optimization.models.model import Model
from prompt_optimization.models.role_settings import JudgeSettings, WriterSettings
from prompt_optimization.models.writers import Request
from prompt_optimization.optimizers.base import Tools
from prompt_optimization.optimizers.text.optimizer import TextOptimizer
from prompt_optimization.runs.store.replies import ReplyLog
from prompt_optimization.scoring.scorer import Scorer
from prompt_optimization.scoring.writing import CountedWriter
from prompt_optimization.tasks.examples import Example
from tests.writers import Script, ScriptedWriter

START = " think"

# (the prompt's words, number of the question) -> whether it is answered rightly.
Rule = Callable[[set[str], int], bool]

VOCABULARY = [f"w{i:02}" for i in range(16)]
# A question needs up to five of these in the prompt.
HIDDEN = set(VOCABULARY[::3][:5])


def enough_words(words: set[str], question: int) -> bool:
    return len(words & HIDDEN) >= question % 6


def edited_words(request: Request, number: int) -> str:
    """The prompt of the request with one word more, less, or another one; of none, two words. Where
    no prompt is asked for, a remark."""
    if "<prompt>" not in request.user:
        return "It is too short."
    rng = random.Random(f"{request.seed} {number} {request.user}")
    words = re.findall(r"\bw\d\d\b", request.user)
    if not words:
        words = rng.sample(VOCABULARY, 2)
    elif (move := rng.choice(["add", "drop", "swap"])) == "add":
        words.append(rng.choice(VOCABULARY))
    elif move == "swap" or len(words) == 1:
        words[rng.randrange(len(words))] = rng.choice(VOCABULARY)
    else:
        words.remove(rng.choice(words))
    return f"<prompt>{' '.join(words)}</prompt>"


class RuleModel:
    """What a scorer needs of a model. A prompt's ids are its words, by number."""

    def __init__(
        self,
        rule: Rule,
        questions: int,
        name: str = "planted",
        ids: dict[str, int] | None = None,
    ) -> None:
        self.rule = rule
        self.examples = tuple(Example(f"Is number {i} right?", "Yes", i) for i in range(questions))
        self.counts: Counter[str] = Counter()
        self.training = self.tokenizer = self
        self.info = SimpleNamespace(name=name)
        self.has_targets = True
        self.layout = SimpleNamespace(
            shown=lambda *texts, solved=True: " ".join(map(str.strip, texts))
        )
        self._words: dict[str, int] = {} if ids is None else ids

    def prompt_ids(self, text: str) -> Ids:
        return tuple(self._words.setdefault(word, len(self._words)) for word in text.split())

    def check_room(self, *rest: Any) -> None:
        pass

    def decode(self, ids: Ids, **rest: Any) -> str:
        return "I reason."

    def submit_run(
        self, prompts: Sequence[Ids], decoding: Decoding, examples: Sequence[int]
    ) -> Future[list[list[Outcome]]]:
        words = list(self._words)
        found = [[self._outcome({words[i] for i in ids}, e) for e in examples] for ids in prompts]
        return Future(lambda: found)

    def _outcome(self, words: set[str], example: int) -> Outcome:
        right = self.rule(words, example)
        answer = self.examples[example].answer if right else "No"
        return Outcome((), 0.1 if right else 2.0, not right, 0.0, answer)


S = TypeVar("S", bound=TextOptimizer)


def planted(
    kind: type[S],
    settings: Any,
    *,
    rule: Rule = enough_words,
    others: Sequence[Rule] = (),
    script: Script = edited_words,
    questions: int = 50,
    seed: int = 0,
    writer: WriterSettings | None = None,
    judge: JudgeSettings | None = None,
    embedder: Any = None,
) -> tuple[S, ScriptedWriter]:
    """A search that has scored its initial prompt, and the writer that it asks.

    Args:
        others: of further models that the prompt is optimised for.
    """
    ids: dict[str, int] = {}
    scorer = Scorer(
        [
            cast(Model, RuleModel(each, questions, f"planted {number}", ids))
            for number, each in enumerate([rule, *others])
        ],
        Decoding(4, 4),
        objective="answers",
        nll_weight=0.0,
    )
    scripted = ScriptedWriter(script)
    own = writer or WriterSettings.default(parse_retries=0)
    replies = ReplyLog(None)
    counted = CountedWriter(scripted, own, scorer, replies)
    judging = (judge or JudgeSettings.default()).beside(own)
    judges = CountedWriter(scripted, judging, scorer, replies)
    tools = Tools(random.Random(seed), 100, writer=counted, judge=judges, embedder=embedder)
    search = kind(settings, scorer, tools)
    search.start(START)
    return search, scripted


def different(request: Request, number: int) -> str:
    """A prompt that nobody has written before."""
    return f"<prompt>prompt {request.seed} of {number}</prompt>"


def costs_of(search: TextOptimizer, writer: ScriptedWriter) -> dict[str, Any] | None:
    """Make a step; its waves, as [requests, draws of each], and the rows that were scored. None
    where the search is over."""
    waves, before = len(writer.waves), search.scorer.ledger.evaluations
    made = search.step()
    if made is None:
        assert len(writer.waves) == waves and search.scorer.ledger.evaluations == before
        return None
    assert made.details["waves"] == len(writer.waves) - waves
    return {
        "waves": [
            [len(wave), *{request.draws for request in wave}] for wave in writer.waves[waves:]
        ],
        "rows": search.scorer.ledger.evaluations - before,
    }
