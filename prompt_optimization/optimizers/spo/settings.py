"""What SPO asks, who judges, and what a challenger has to win."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prompt_optimization.errors import InputError
from prompt_optimization.files import read_text
from prompt_optimization.keys import key
from prompt_optimization.optimizers.spo.metaprompts import CHALLENGE, JUDGE
from prompt_optimization.optimizers.text.metaprompt import MetaPrompt
from prompt_optimization.optimizers.text.settings import TextSettings
from prompt_optimization.paths import user_path
from prompt_optimization.tasks.qa_template import read_template
from prompt_optimization.tasks.texts import different_lines


@dataclass(frozen=True)
class SpoSettings(TextSettings, group="spo"):
    """The questions, the challenger and the judge."""

    reads_answers = True
    unlabelled: ClassVar[bool] = True
    metaprompts: ClassVar[Mapping[str, MetaPrompt]] = {"challenge": CHALLENGE, "verdict": JUDGE}
    elsewhere: ClassVar[Mapping[str, str]] = {
        "judge.temperature": "spo.judge_temperature sets it",
        "judge.parse_retries": "a reply without a choice counts as a reading without a verdict",
    }

    requirements: str = key("", "what is required of answers, for writer and judge")
    rounds: int = key(
        10, "steps, each with one new prompt; 0: n_steps alone decides", free=True, low=0,
        source="paper",
    )  # fmt: skip
    patience: int = key(0, "steps in a row without a better prompt that end it; 0: none", low=0)
    questions: int = key(
        3, "training questions that prompts are compared on", low=1, source="paper"
    )
    resample: bool = key(False, "draw the questions anew in every step")
    word_limit: int = key(
        0, "the most words of a prompt; 0: max_prompt_tokens alone decides", low=0
    )
    pool: str = key(
        "", "a text file with prompts, one a line, that are tried in place of the writer's"
    )
    template: str = key(
        "",
        "a YAML template of SPO's code; it brings initial prompt, requirements, word limit and "
        "questions where these are not given",
    )
    reference: str = key(
        None,
        "what writer and judge see of right answers: none; format: the text answer_format; gold: "
        "the answer of the row",
        choices=("none", "format", "gold"),
        by_behaviour={"sound": "none", "published": "gold"},
    )
    answer_format: str = key("", "of reference=format: what an answer looks like, in words")
    judge: str = key(
        "llm",
        "who compares two answers: llm: the model of judge.model, or else the writer, chooses "
        "between them; logprob: the log-odds of the two letters as its next word, of both orders "
        "together, for a model that is loaded here; consistency: the "
        "answers that agree more with others that are drawn; reference: the right answers, a "
        "ceiling; random: a coin, the floor",
        choices=("llm", "logprob", "consistency", "reference", "random"),
    )
    scope: str = key(
        None,
        "each: every question is judged by itself; set: all of them as one",
        choices=("each", "set"),
        by_behaviour={"sound": "each", "published": "set"},
    )
    orders: str = key(
        None,
        "both: a vote is a reading in each order of the two answers; random: in one of them",
        choices=("both", "random"),
        by_behaviour={"sound": "both", "published": "random"},
    )
    votes: int = key(
        None,
        "votes of the judges llm and random on a question; one with more than half of all readings "
        "wins it",
        low=1,
        by_behaviour={"sound": 1, "published": 4},
    )
    judge_temperature: float = key(0.3, "of the judge's replies", low=0.0, source="paper")
    samples: int = key(
        5, "of judge=consistency: answers that are drawn to a question under each prompt", low=2
    )
    sample_temperature: float = key(0.7, "of judge=consistency: of these answers", above=0.01)
    accept: str = key(
        "majority",
        "what a new prompt needs: majority: to win more questions than it loses; sign_test: to win "
        "more of the decided ones than chance does with probability alpha",
        choices=("majority", "sign_test"),
    )
    alpha: float = key(0.05, "of accept=sign_test", above=0.0, high=0.5)
    challenge_file: str = key(
        "",
        "a file with a meta-prompt in place of the writer's own; its slots are {requirements}, "
        "{prompt}, {answers} and {limit}",
    )
    verdict_file: str = key(
        "",
        "a file with a meta-prompt in place of the judge's own; its slots are {requirements}, "
        "{question}, {first}, {second} and {reply}",
    )

    @classmethod
    def brings(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        if not values["spo.template"]:
            return {}
        path = user_path(str(values["spo.template"]))
        try:
            found = read_template(path, read_text(path, "spo.template"))
        except InputError as error:
            raise InputError(error.problem, key="spo.template") from None
        own = {
            "control_init": found.prompt,
            "spo.requirements": found.requirements,
            "spo.word_limit": found.words,
        }
        if not values["train_data"]:
            own |= {"train_data": str(path), "n_train_data": len(found.rows)}
            own |= {f"n_{name}_data": 0 for name in ("dev", "test") if not values[f"{name}_data"]}
        return {name: value for name, value in own.items() if value or name.startswith("n_")}

    def check(self) -> None:
        super().check()
        self.prompts()
        if self.reference == "format" and not self.answer_format.strip():
            raise InputError(
                "no text says what an answer looks like; write one, or show none",
                key=("spo.answer_format", "spo.reference"),
            )
        if self.accept == "sign_test":
            self._check_sign_test()

    def _check_sign_test(self) -> None:
        if self.scope == "set":
            raise InputError(
                "a sign test counts questions, and all of them are judged as one; judge each",
                key=("spo.scope", "spo.accept"),
            )
        if 0.5**self.questions > self.alpha:
            raise InputError(
                f"{self.questions} questions that are all won would not pass a sign test at "
                f"{self.alpha:g}; ask more of them, or allow a larger alpha",
                key=("spo.questions", "spo.alpha"),
            )

    @property
    def judges(self) -> bool:
        return self.judge in ("llm", "logprob")

    def check_server(self, role: str) -> None:
        if role == "judge" and self.judge == "logprob":
            raise InputError(
                "the judge 'logprob' reads probabilities that a server does not tell; choose the "
                "judge 'llm', or name a model that is loaded here",
                key=("spo.judge", "judge.model"),
            )

    def check_examples(self, examples: Sequence[Any]) -> None:
        if self.questions > len(examples):
            raise InputError(
                f"{self.questions} questions are asked for and there are {len(examples)} training "
                "rows; give more rows, or ask fewer questions",
                key=("spo.questions", "n_train_data"),
            )
        bare = next((each for each in examples if not each.labelled), None)
        if bare and self.judge == "reference":
            raise InputError(
                f"the judge 'reference' compares with right answers, and row {bare.row} has none; "
                "choose another judge",
                key="spo.judge",
            )

    def prompts(self) -> list[str]:
        """The pool's prompts, each once, as they were given; none without a pool.

        Raises:
            InputError: the file cannot be read.
        """
        return different_lines(self.pool, "spo.pool")


SETTINGS = SpoSettings
