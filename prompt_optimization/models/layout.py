"""Token ids of one sample with named spans, read off the text.

The user will paste the optimised prompt as text. So every sequence here is made by rendering the
whole text once, tokenising it once, and reading the spans off the tokenizer's character offsets;
nothing is searched for among ids and no two texts are tokenised apart where they touch.

A *context* is everything the model reads before it reasons. The prompt may stand anywhere in it;
in the paper it stands after the question::

    <user header> question connector | prompt | <end of turn, assistant header>
    <system header> | prompt | <end of turn, user header> question <end of turn, assistant header>

It may stand several times, as in solved questions before the one that is asked. It then has the
same ids in each of its places.

A *target* is what is appended to the reasoning to make the model state its answer::

    separator extractor | answer

The reasoning between them is the model's own ids and has no text of its own to be true to. The
target is read as it stands in running text, after words that a reasoning could end with: at the
beginning of a text or after a special token, many tokenizers add or drop white space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.spans import StraddleError, Tokens, tokenise
from prompt_optimization.models.thinking import Thinking, endings
from prompt_optimization.tasks.examples import Example
from prompt_optimization.tasks.templates import END, Turns, filled, slots_of, turns_of
from prompt_optimization.tasks.texts import one_line

Ids = tuple[int, ...]

# What a reasoning may end with: a word, a number, a sentence, a bracket, a line.
REASONINGS = tuple(f"So this is what we know{end}" for end in ("", " 12", ".", " (A)", ".\n"))


@dataclass(frozen=True)
class Context:
    """Ids before the reasoning: ``before + prompt + after``, in this order.

    Attributes:
        between: where the prompt stands several times, the ids between two of its places.
    """

    before: Ids
    prompt: Ids
    after: Ids
    between: tuple[Ids, ...] = ()

    @property
    def around(self) -> tuple[Ids, ...]:
        """The ids before, between and after the prompt's places."""
        return self.before, *self.between, self.after


@dataclass(frozen=True)
class Target:
    """Ids after the reasoning: ``extractor + answer``."""

    extractor: Ids
    answer: Ids


class BoundaryError(ValueError):
    """The prompt does not stand on tokens of its own.

    Attributes:
        fix: what to do, as the end of a sentence.
        keys: the settings that the fix is about.
    """

    def __init__(self, problem: str, fix: str, keys: tuple[str, ...]) -> None:
        super().__init__(problem)
        self.fix = fix
        self.keys = keys

    def refusal(self, prompt: str) -> InputError:
        """The same, said of ``prompt`` to the user."""
        return InputError(
            f"the prompt '{prompt.strip()}' does not stand on tokens of its own ({self}); "
            f"{self.fix}",
            key=self.keys,
        )


class Layout:
    """Writes questions, prompts, extractor and answers as ids for one tokenizer."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        chat: ChatFormat,
        *,
        extractor: str,
        connector: str = ". Use",
        separator: str = " ",
        template: str = END,
        fold_system: bool = False,
        think_end: str = "auto",
    ) -> None:
        """
        Args:
            tokenizer: a fast tokenizer (it must report character offsets).
            chat: the text around the user's words.
            extractor: text after the reasoning that asks for the answer's format; empty where the
                reasoning is the answer, and nothing is forced.
            connector: text between question and prompt where the prompt stands after the question,
                as in the paper (section 4.1: ``. Use``).
            separator: text between reasoning and extractor.
            template: the chat in which both stand, as ``tasks.templates.resolved`` gives it.
            fold_system: see ``ChatFormat.frame``.
            think_end: what ends thinking that is left open; ``auto`` for the tokenizer's own.

        Raises:
            InputError: the model's chat template refuses the chat, or the end of the thinking
                melts into what stands beside it.
        """
        self.tokenizer = tokenizer
        self.chat = chat
        self.extractor = extractor if extractor.strip() else ""
        self.connector = connector
        self.separator = "" if extractor[:1].isspace() else separator
        self.template = template
        self.frame = chat.frame(turns_of(template, connector), fold_system)
        self.thinking = self._thinking(endings(think_end, chat.think_tag))
        self.mask: int | None = None

    @staticmethod
    def normalise(prompt: str) -> str:
        """The form in which a prompt is kept: one leading space, nothing after it, and line breaks
        only within.

        The space separates it from the connector; where no space stands before the prompt, it is
        left out. Chat templates trim what follows the prompt.
        """
        return " " + prompt.strip()

    @cached_property
    def proposing(self) -> Layout:
        """The layout in which the next token of a prompt is asked for: this one where the question
        stands before the prompt, and the paper's elsewhere."""
        if not self.frame.prompt_first:
            return self
        return Layout(
            self.tokenizer,
            self.chat,
            extractor=self.extractor,
            connector=self.connector,
            separator=self.separator,
            think_end="",
        )

    def contexts(self, questions: Sequence[str], prompt: str) -> list[Context]:
        """Tokenise ``prompt`` after every question.

        Raises:
            BoundaryError: the prompt is not made of whole tokens in this text.
            InputError: the tokenizer has no character offsets.
        """
        rendered = [self.frame.render(question, prompt) for question in questions]
        encoded = tokenise(self.tokenizer, [text for text, _ in rendered])
        return [
            self._context(tokens, spans, prompt)
            for tokens, (_, spans) in zip(encoded, rendered, strict=True)
        ]

    def keeps_words(self, question: str, prompt: str) -> bool:
        """Whether the chat template, given these words, writes the text that is tokenised here."""
        words = filled(self.frame.turns, question=question, prompt=prompt.strip())
        text, _ = self.frame.render(question, prompt)
        return self.chat.dated or self.chat.write(words) == text

    def shown(self, question: str, prompt: str, *, solved: bool = True) -> str:
        """The chat as plain text, for a reader who knows no chat template: turns after each other,
        each after its role where there are several.

        Args:
            solved: with the turns before the question, where the prompt stands in others, too.
        """
        turns = filled(self._turns(solved), question=question, prompt=prompt.strip())
        if len(turns) == 1:
            return turns[0].content
        return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)

    def _turns(self, solved: bool) -> Turns:
        turns = self.frame.turns
        start = next(i for i, turn in enumerate(turns) if "question" in slots_of(turn.content))
        asked = (*(turn for turn in turns[:start] if turn.role == "system"), *turns[start:])
        apart = any("prompt" in slots_of(turn.content) for turn in asked)
        return turns if solved or not apart else asked

    def roundtrip_text(
        self, question: str, around: tuple[Ids, ...], prompts: Sequence[Ids]
    ) -> list[str | None]:
        """The text of each of ``prompts`` that means exactly these ids, else None.

        A text means its ids when rendering it after the question and tokenising the whole gives
        them back, between the same ids.

        Args:
            around: the ids around the prompt, as ``Context.around`` has them.
        """
        ids, *_ = around
        before, *texts = self.tokenizer.batch_decode(
            [list(ids), *(list(ids + prompt) for prompt in prompts)],
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        texts = [text[len(before) :] if text.startswith(before) else "" for text in texts]
        texts = [f" {text.lstrip(' ')}" for text in texts]
        sound = [bool(text.strip()) and text == self.normalise(text) for text in texts]
        whole = [self.frame.render(question, t) for t, ok in zip(texts, sound, strict=True) if ok]
        encoded = tokenise(self.tokenizer, [text for text, _ in whole])
        spans = iter(zip(encoded, whole, strict=True))

        def means(text: str, prompt: Ids) -> bool:
            tokens, (_, places) = next(spans)
            try:
                context = self._context(tokens, places, text)
            except BoundaryError:
                return False
            return (context.around, context.prompt) == (around, prompt)

        return [
            text if ok and means(text, prompt) else None
            for text, ok, prompt in zip(texts, sound, prompts, strict=True)
        ]

    @property
    def ending_tokens(self) -> int:
        """Tokens between reasoning and extractor, at most."""
        return len(self.thinking.ids) if self.thinking else 0

    def ending_after(self, after: Ids, reasoning: Ids) -> Ids:
        """What has to be written between ``reasoning`` and the extractor: the end of the thinking,
        where it is left open.

        Args:
            after: the ids between prompt and reasoning, which may open the thinking.
        """
        if self.thinking is None:
            return ()
        text = self.tokenizer.decode([*after, *reasoning])
        return self.thinking.ids if self.thinking.is_open(text) else ()

    def targets(self, examples: Sequence[Example]) -> list[Target]:
        """Tokenise extractor and answer together, for every example.

        The extractor's own ids must be the same whatever the answer, because that is what the
        model is given when it states its answer freely. White space at the extractor's end may
        belong to the answer's first token (``"$ "`` + ``"False"`` is ``"$"``, ``" False"``).
        An example without an answer has a target without one.

        Raises:
            InputError: the extractor melts into the reasoning, or an answer into the extractor's
                last token; or the tokenizer does not give an answer back as it was written.
        """
        if not self.extractor:
            return [Target((), ())] * len(examples)
        opening = self.separator + self.extractor
        reasoning = self._reasoning_before(opening)
        texts = [reasoning + opening, reasoning + opening.rstrip()]
        alone, *openings = tokenise(self.tokenizer, [reasoning, *texts])
        encoded = tokenise(self.tokenizer, [texts[0] + example.answer for example in examples])
        skip = len(alone.ids)
        # Where no answer says which, the answer's own token begins with the space.
        opened_by = list(zip(texts, openings, strict=True))
        if not any(example.labelled for example in examples):
            opened_by.reverse()
        for text, opened in opened_by:
            extractor = opened.ids[skip:]
            starts = [sum(end <= len(text) for _, end in tokens.offsets) for tokens in encoded]
            targets = [
                Target(tokens.ids[skip:start], tokens.ids[start:])
                for tokens, start in zip(encoded, starts, strict=True)
            ]
            targets = [
                target if example.labelled else Target(extractor, ())
                for target, example in zip(targets, examples, strict=True)
            ]
            if all(
                target.extractor == extractor and bool(target.answer) == example.labelled
                for target, example in zip(targets, examples, strict=True)
            ):
                self._check_readable(examples, targets)
                return targets
        wrong, example = next(
            (target, example)
            for target, example in zip(targets, examples, strict=True)
            if target.extractor != extractor or bool(target.answer) != example.labelled
        )
        glued = self.tokenizer.decode(list(wrong.answer[:1]))
        raise InputError(
            f"answer '{example.answer}' of row {example.row} cannot be distinguished from the "
            f"extractor '...{self.extractor[-12:]}' (its first token is '{glued}'); end the "
            "extractor so that answers start a new token, for instance with a space",
            key="extractor_text",
        )

    def _context(self, tokens: Tokens, spans: Sequence[tuple[int, int]], prompt: str) -> Context:
        """The ids around and in the characters [start, end) of each span, where ``prompt``
        stands."""
        places = [self._place(tokens, start, end, prompt) for start, end in spans]
        ids, (first, last) = tokens.ids, places[0]
        for start, end in places[1:]:
            if ids[start:end] != ids[first:last]:
                raise BoundaryError(
                    "it has other tokens in another of its places",
                    "let the same character stand before every {prompt} in the template",
                    ("template",),
                )
        before = self.chat.start + ids[:first]
        if not before:
            raise BoundaryError(
                "nothing stands before it, so the model cannot say how likely its first token is",
                "let the template begin with a word",
                ("template",),
            )
        ends, starts = [end for _, end in places], [start for start, _ in places[1:]]
        between = tuple(ids[end:start] for end, start in zip(ends, starts, strict=False))
        return Context(before, ids[first:last], ids[ends[-1] :], between)

    def _place(self, tokens: Tokens, start: int, end: int, prompt: str) -> tuple[int, int]:
        """The tokens [first, last) of the characters [start, end), where ``prompt`` stands."""
        own = self.template != END
        try:
            first = tokens.before(start)
        except StraddleError as error:
            raise BoundaryError(
                f"its beginning shares the token '{self._shown(error)}' with the text before it",
                "let a space stand before {prompt} in the template, and the prompt start with a "
                "word"
                if own
                else "let the connector end in a word and the prompt start with one",
                ("template" if own else "connector", "control_init"),
            ) from None
        try:
            last = tokens.before(end)
        except StraddleError as error:
            mark = prompt[-1]
            fix = "let it end in another word, or name another chat template"
            if not mark.isalnum():
                fix = f"leave out the '{mark}' at its end"
            if own:
                fix += ", or let a space stand after {prompt} in the template"
            follows = "the text" if own else "what the chat template writes"
            raise BoundaryError(
                f"its end shares the token '{self._shown(error)}' with {follows} after it",
                fix,
                ("control_init", "template") if own else ("control_init",),
            ) from None
        if first == last:
            raise BoundaryError(
                "the tokenizer has no token for it", "write another prompt", ("control_init",)
            )
        return first, last

    def _thinking(self, endings: Sequence[str]) -> Thinking | None:
        """How thinking ends: with the first of ``endings`` that stands on tokens of its own.

        Raises:
            InputError: none does.
        """
        if not endings:
            return None
        opening = self.separator + self.extractor.rstrip() if self.extractor else ""
        reasoning = self._reasoning_before(opening)
        for ending in endings:
            texts = [reasoning + rest for rest in ("", opening, ending, ending + opening)]
            alone, opened, ended, whole = (one.ids for one in tokenise(self.tokenizer, texts))
            ids, extractor = ended[len(alone) :], opened[len(alone) :]
            if ids and ended == alone + ids and whole == ended + extractor:
                return Thinking(ending, ids)
        raise InputError(
            f"the end of the thinking, '{one_line(endings[0])}', melts into the reasoning or the "
            "extractor; let other white space stand around the tag",
            key="reasoning.think_end",
        )

    def _reasoning_before(self, opening: str) -> str:
        """The first of ``REASONINGS`` whose tokens stay as they are when ``opening`` follows.

        Raises:
            InputError: there is none.
        """
        alone = tokenise(self.tokenizer, REASONINGS)
        followed = tokenise(self.tokenizer, [text + opening for text in REASONINGS])
        for text, own, tokens in zip(REASONINGS, alone, followed, strict=True):
            try:
                if tokens.ids[: tokens.before(len(text))] == own.ids:
                    return text
            except StraddleError:
                continue
        raise InputError(
            f"the extractor '{self.extractor[:12]}...' melts into the text before it; let it begin "
            "with a space or a line break",
            key="extractor_text",
        )

    def _check_readable(self, examples: Sequence[Example], targets: Sequence[Target]) -> None:
        """A model that writes the reference answer must be found to be right.

        Raises:
            InputError: an answer's ids decode to another text.
        """
        texts = self.tokenizer.batch_decode(
            [list(target.answer) for target in targets], skip_special_tokens=True
        )
        for text, example in zip(texts, examples, strict=True):
            if text.strip() != example.answer.strip():
                raise InputError(
                    f"answer '{example.answer}' of row {example.row} comes back from the tokenizer "
                    f"of '{self.tokenizer.name_or_path}' as '{text.strip()}', so an answer that a "
                    "model writes could not be read; choose another model, or write the answer in "
                    "that way"
                )

    def _shown(self, error: StraddleError) -> str:
        """The token, with its line breaks written out."""
        text: str = self.tokenizer.decode([error.token])
        return text.encode("unicode_escape").decode() if text.isascii() else text
