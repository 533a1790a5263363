"""Whether a tokenizer and its chat format keep what the layout relies on.

Prompts are kept as text, scored as ids, and given the reasoning's continuation as ids that were
read apart from it. All of this means something only while texts and ids say the same.
"""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from prompt_optimization.errors import InputError
from prompt_optimization.models.chat import ChatFormat
from prompt_optimization.models.layout import BoundaryError, Context, Layout
from prompt_optimization.models.spans import tokenise
from prompt_optimization.tasks.examples import Example

# Plain words, in the places where they will stand.
QUESTION = "Tom has 7 apples and buys 5 more. How many apples does he have now?"
PROMPT = " careful thought and count each one"
REASONINGS = ("He has 7 and 5 more", "He has 7 and 5, so he has 12", "He has 7 and then 5 more.")
EXTRACTOR = "Therefore, the answer is "
ANSWER = "12"

# A tokenizer that draws among several readings shows it within a few.
REPEATS = 8


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, rows: int, chat: ChatFormat) -> None:
    """Lay out a small example, and compare every part with the ids of the running text.

    Args:
        rows: of the model's embedding; ids are below it.
        chat: the text around the user's words.

    Raises:
        InputError: a part differs, or the model has no embedding for an id that will occur.
    """
    check = _Check(tokenizer, chat)
    check.same_every_time()
    check.start()
    check.marks()
    context = check.context()
    check.roundtrip(context)
    target = check.target()
    check.rows(rows, (*context.before, *context.prompt, *context.after, *target))


class _Check:
    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat: ChatFormat) -> None:
        self.tokenizer = tokenizer
        self.chat = chat
        self.layout = Layout(tokenizer, chat, extractor=EXTRACTOR)
        self.text = chat.render(QUESTION + self.layout.connector + PROMPT)

    def same_every_time(self) -> None:
        if len({tokens.ids for tokens in tokenise(self.tokenizer, [self.text] * REPEATS)}) > 1:
            raise self._refusal(
                "reads the same text as other tokens every time; turn off its dropout or sampling"
            )

    def start(self) -> None:
        """What the format puts before the text is what the tokenizer puts there."""
        if not self.chat.start:
            return
        whole = tuple(self.tokenizer(self.text)["input_ids"])
        (text,) = tokenise(self.tokenizer, [self.text])
        expected = self.chat.start + text.ids
        if whole[: len(expected)] != expected:
            raise self._refusal(
                "reads a text in another way when it adds its special tokens; use one that the "
                "model was published with"
            )

    def marks(self) -> None:
        """Special tokens in the format's text are read as such."""
        written = self.chat.prefix + self.chat.suffix
        (text,) = tokenise(self.tokenizer, [self.text])
        for token, added in self.tokenizer.added_tokens_decoder.items():
            if not added.special or not added.content.strip():
                continue
            if added.content in written and token not in text.ids:
                raise self._refusal(
                    f"reads the mark '{added.content}' of the chat template as plain text; turn "
                    "off split_special_tokens, or the mark's flags normalized and single_word"
                )

    def context(self) -> Context:
        try:
            (context,) = self.layout.contexts([QUESTION], PROMPT)
        except BoundaryError as error:
            raise self._refusal(
                f"joins plain words to the text around them ({error}); name another chat template",
                "conversation_templates",
            ) from None
        if not context.after:
            raise self._refusal(
                "drops all that the chat template writes after the user's words; name another "
                "chat template",
                "conversation_templates",
            )
        return context

    def roundtrip(self, context: Context) -> None:
        if self.tokenizer.unk_token_id in context.prompt:
            return  # a small vocabulary may lack these words and have the task's
        (text,) = self.layout.roundtrip_text(QUESTION, context.around, [context.prompt])
        if text is None:
            found = self.tokenizer.decode(list(context.prompt), clean_up_tokenization_spaces=False)
            raise self._refusal(
                f"gives '{PROMPT.strip()}' back as '{found.strip()}', which it does not read as "
                "the same tokens; use one that the model was published with"
            )

    def target(self) -> tuple[int, ...]:
        """Extractor and answer as they follow a reasoning in the conversation."""
        (target,) = self.layout.targets([Example(QUESTION, ANSWER, 0)])
        ids = target.extractor + target.answer
        said = self.layout.separator + EXTRACTOR + ANSWER
        texts = [self.text + reasoning + said for reasoning in REASONINGS]
        for reasoning, tokens in zip(REASONINGS, tokenise(self.tokenizer, texts), strict=True):
            if tokens.ids[-len(ids) :] != ids:
                raise self._refusal(
                    f"reads '{said}' in another way after '{reasoning}' than elsewhere, so no "
                    "answer could be scored; choose another model"
                )
        return ids

    def rows(self, rows: int, ids: tuple[int, ...]) -> None:
        if (largest := max(ids)) >= rows:
            raise self._refusal(
                f"writes the token '{self.tokenizer.decode([largest])}' ({largest}), and the model "
                f"has an embedding for {rows}; give the model's own"
            )
        pad = self.tokenizer.pad_token_id
        if pad is not None and pad >= rows:
            raise self._refusal(
                f"fills up with the token '{self.tokenizer.pad_token}' ({pad}), and the model has "
                f"an embedding for {rows}; make its EOS token the pad token, or resize the model's "
                "embedding",
                "tokenizer_kwargs",
            )

    def _refusal(self, problem: str, key: str = "tokenizer_paths") -> InputError:
        return InputError(f"the tokenizer '{self.tokenizer.name_or_path}' {problem}", key=key)
