"""One small tokenizer of every usual kind, made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from tests.conftest import CORPUS

MARKS = ("<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>", "<|end|>")
TEXTS = [
    *CORPUS,
    *["An answer.\n\nAnother one?\n\nA third!\n\nSo (A)\n\nThese:\n\n"] * 40,
    *["He has 7 and 5, so he has 12. So this is what we know. Solution: I do (not) know."] * 9,
]
LLAMA_3 = Regex(
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS = sorted({character for text in TEXTS for character in text})


def _byte_level(pattern: Regex | None, prefix: bool, trim: bool) -> Tokenizer:
    raw = Tokenizer(models.BPE())
    if pattern is None:
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    else:
        raw.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(pattern, "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
            ]
        )
    raw.post_processor = processors.ByteLevel(trim_offsets=trim)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=460,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return raw


def _byte_fallback(normalizer: Any, pre_tokenizer: Any, strips: bool) -> Tokenizer:
    """BPE over characters, spaces written as a character of their own, bytes to fall back on."""
    raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if normalizer is not None:
        raw.normalizer = normalizer
    # Merges are learnt within words, whatever the finished tokenizer splits at.
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="never"), pre_tokenizers.Digits(True)]
    )
    raw.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=520, special_tokens=["<unk>", *BYTES], show_progress=False),
    )
    # The trainer takes the bytes for special, which they are not.
    state = json.loads(raw.to_str())
    state["added_tokens"] = [one for one in state["added_tokens"] if one["content"] == "<unk>"]
    state["pre_tokenizer"] = None
    made = Tokenizer.from_str(json.dumps(state))
    if pre_tokenizer is not None:
        made.pre_tokenizer = pre_tokenizer
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strips else []))
    return made


def _unigram(normalizer: Any, scheme: str) -> Tokenizer:
    raw = Tokenizer(models.Unigram())
    if normalizer is not None:
        raw.normalizer = normalizer
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    raw.decoder = decoders.Metaspace(prepend_scheme=scheme)
    raw.train_from_iterator(
        TEXTS,
        trainers.UnigramTrainer(
            vocab_size=160, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
        ),
    )
    return raw


def _word_piece(lowercase: bool) -> Tokenizer:
    raw = Tokenizer(models.WordPiece(unk_token="<unk>"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    raw.train_from_iterator(
        TEXTS,
        trainers.WordPieceTrainer(
            vocab_size=300,
            special_tokens=["<unk>"],
            initial_alphabet=LETTERS,
            show_progress=False,
        ),
    )
    return raw


def _word_level(splits: Any) -> Tokenizer:
    raw = Tokenizer(models.WordLevel(unk_token="<unk>"))
    raw.pre_tokenizer = splits
    raw.train_from_iterator(
        TEXTS, trainers.WordLevelTrainer(special_tokens=["<unk>"], show_progress=False)
    )
    return raw


_PREPEND = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level, Llama-3": lambda: _byte_level(LLAMA_3, False, False),
    "byte-level, GPT-2": lambda: _byte_level(None, False, False),
    "byte-level, trimmed offsets": lambda: _byte_level(None, False, True),
    "byte-level, prefix space": lambda: _byte_level(None, True, True),
    "byte fallback, Gemma": lambda: _byte_fallback(
        normalizers.Replace(" ", "\u2581"),
        pre_tokenizers.Split(" ", "merged_with_previous"),
        False,
    ),
    "byte fallback, prepended": lambda: _byte_fallback(normalizers.Sequence(_PREPEND), None, True),
    "byte fallback, first": lambda: _byte_fallback(
        None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), True
    ),
    "byte fallback, always": lambda: _byte_fallback(
        None, pre_tokenizers.Metaspace(prepend_scheme="always"), True
    ),
    "unigram": lambda: _unigram(None, "always"),
    "unigram, normalised": lambda: _unigram(
        normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")]),
        "first",
    ),
    "word-piece": lambda: _word_piece(False),
    "word-piece, lower-casing": lambda: _word_piece(True),
    "word-level": lambda: _word_level(pre_tokenizers.Whitespace()),
}
# Flags of the marks, as published tokenizers set them.
FLAGS: dict[str, dict[str, bool]] = {
    "plain marks": {"normalized": False},
    "rstrip": {"normalized": False, "rstrip": True},
    "lstrip and rstrip": {"normalized": False, "lstrip": True, "rstrip": True},
    "normalised": {"normalized": True},
}
# A normalised mark gets the prefix that the normaliser puts before every text, and is not found
# within a text any more.
UNREADABLE_MARKS = ("byte fallback, prepended", "normalised")
# What the post-processor adds.
ADDED: dict[str, str] = {
    "nothing": "$A",
    "BOS": "<s> $A",
    "BOS and EOS": "<s> $A </s>",
    "EOS": "$A </s>",
}
TEMPLATES: dict[str, str | None] = {
    "none": None,
    "Phi-3": "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
    "{% endfor %}{{ '<|assistant|>\n' }}",
    "BOS, trimmed": "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|> ' "
    "+ m['content'] | trim + ' <|end|>' }}{% endfor %}{{ '<|assistant|> ' }}",
    "words": "{% for m in messages %}{{ 'Question: ' + m['content'] + '\n\nAnswer:' }}{% endfor %}",
}


@lru_cache
def _raw(kind: str) -> str:
    return KINDS[kind]().to_str()


@lru_cache
def make_tokenizer(
    kind: str, flags: str = "plain marks", added: str = "BOS", template: str = "none"
) -> PreTrainedTokenizerFast:
    """A tokenizer of ``kind``, with marks, a post-processor and a chat template of those above."""
    raw = Tokenizer.from_str(_raw(kind))
    raw.add_special_tokens([AddedToken(mark, special=True, **FLAGS[flags]) for mark in MARKS])
    if added != "nothing":
        wraps = processors.TemplateProcessing(
            single=ADDED[added],
            special_tokens=[(mark, raw.token_to_id(mark)) for mark in ("<s>", "</s>")],
        )
        own = raw.post_processor
        raw.post_processor = processors.Sequence([own, wraps]) if own else wraps
    unk = {"unk_token": "<unk>"} if raw.token_to_id("<unk>") is not None else {}
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>", **unk
    )
    made.chat_template = TEMPLATES[template]
    return made
