"""Texts as vectors: a sentence encoder says which texts are alike."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from prompt_optimization.errors import InputError
from prompt_optimization.models.placement import resolve_device
from prompt_optimization.models.settings import ENCODER_NAME, ENCODER_PACKAGE, EmbedSettings
from prompt_optimization.paths import user_path

# Where the encoder's authors cut texts.
MAX_TOKENS = 256


class Embedder:
    """A sentence encoder, frozen, in float32.

    A text's vector is the mean of the last hidden states over its tokens, scaled to unit length.
    Texts are encoded one at a time, so that a vector does not depend on the texts beside it, to
    the last bit: a search that resumes ranks as before.

    Attributes:
        name: as the settings call it.
        width: of a vector.
        max_tokens: what comes after them in a text does not count.
    """

    def __init__(self, settings: EmbedSettings) -> None:
        """Load the encoder.

        Raises:
            InputError: it cannot be loaded, its package is missing, it does not turn texts into
                states, or there is no such device.
        """
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        try:
            self.device = resolve_device(settings.device)
        except InputError as error:
            raise InputError(error.problem, key="embed.device") from None
        settings.check_ready()
        self.name = settings.model
        source = {"pretrained_model_name_or_path": _source(settings.model)}
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(**source, trust_remote_code=False)
            model: Any = AutoModel.from_pretrained(
                **source, trust_remote_code=False, dtype=torch.float32
            )
            tokens, own = model.get_input_embeddings().weight.shape[0], self.tokenizer.vocab_size
            if own > tokens:
                raise ValueError(f"it knows {tokens} tokens, and its tokenizer {own}")
            self.model = model.to(self.device).eval().requires_grad_(False)
            limit = getattr(model.config, "max_position_embeddings", MAX_TOKENS)
            self.max_tokens = min(MAX_TOKENS, limit)
            # Models of images or with a decoder ask for more than a text.
            self.width = len(self._encode("text"))
        except (OSError, ValueError, ImportError, TypeError, AttributeError, RuntimeError) as error:
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise InputError(
                f"encoder '{settings.model}' cannot be used ({reason}); give a text encoder, such "
                f"as {ENCODER_NAME}",
                key="embed.model",
            ) from None
        self._known: dict[bytes, NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of ``texts``, none of which is empty.

        Returns:
            [texts, width]: unit rows, so that a product of two is their cosine similarity.
        """
        rows = [self._vector(text) for text in texts]
        return np.stack(rows) if rows else np.empty((0, self.width), np.float32)

    def _vector(self, text: str) -> NDArray[np.float32]:
        assert text, "an empty text has no vector"
        name = hashlib.sha256(text.encode()).digest()
        if name not in self._known:
            self._known[name] = self._encode(text)
        return self._known[name]

    @torch.inference_mode()
    def _encode(self, text: str) -> NDArray[np.float32]:
        ids = self.tokenizer(
            text, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.device)
        states = self.model(**ids).last_hidden_state[0]
        vector = torch.nn.functional.normalize(states.mean(0), dim=0)
        found: NDArray[np.float32] = vector.cpu().numpy()
        return found


def _source(name: str) -> str:
    """What ``from_pretrained`` takes for an encoder called ``name``."""
    if name == ENCODER_NAME:
        spec = find_spec(ENCODER_PACKAGE)
        assert spec is not None and spec.origin is not None, ENCODER_PACKAGE
        return str(Path(spec.origin).parent / "model")
    path = user_path(name)
    return str(path) if os.path.isdir(path) else name
