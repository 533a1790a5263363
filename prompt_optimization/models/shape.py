"""What of a model decides how much memory and arithmetic a token takes.

docs/scaling.md compares these figures with measured ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder.

    Attributes:
        layers: of attention and feed-forward.
        width: of the vectors between layers.
        inner: of the feed-forward part.
        heads, kv_heads, head_width: of the attention.
        vocabulary: rows of the output head.
        item: bytes of a number that is computed in.
    """

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    item: int

    @classmethod
    def of(cls, config: PreTrainedConfig, dtype: torch.dtype) -> Shape:
        """The shape that ``config`` describes, computed in ``dtype``. A feed-forward part whose
        width is not given is four times as wide as the model, as GPT-2's is; where layers differ,
        the largest counts."""
        text = config.get_text_config()
        width = _most(text, "hidden_size", 1)
        # A model without attention is refused elsewhere, with a sentence.
        heads = _most(text, "num_attention_heads", 1)
        return cls(
            _most(text, "num_hidden_layers", 1),
            width,
            _most(text, "intermediate_size", 4 * width),
            heads,
            _most(text, "num_key_value_heads", heads),
            _most(text, "head_dim", width // heads),
            _most(text, "vocab_size", 1),
            dtype.itemsize,
        )

    @property
    def token_bytes(self) -> int:
        """Of the keys and values of one token."""
        return 2 * self.layers * self.kv_heads * self.head_width * self.item

    @property
    def reading_bytes(self) -> int:
        """What reading takes of one token for a moment: what one layer works on."""
        return (8 * self.width + 3 * self.inner) * self.item

    @property
    def gradient_bytes(self) -> int:
        """What a backward pass keeps of one token.

        Of a layer with frozen weights these are the two norms' input and scaled copy, in float32;
        queries and keys before and after their rotation, values, keys and values once more in the
        cache and repeated for all heads, with the cache's gradients; the attention's result; and
        the feed-forward part's two factors, their activation and product.
        """
        norms = 2 * (4 + 4 + self.item) * self.width
        attention = (5 * self.heads + 7 * self.kv_heads) * self.head_width * self.item
        forward = 4 * self.inner * self.item
        return self.layers * (norms + attention + forward)

    def reading_flops(self, context: float) -> float:
        """Of one token after ``context`` others, without logits: two a weight, four for each number
        of the queries and column."""
        attention = 2 * (self.heads + self.kv_heads) * self.head_width * self.width
        weights = self.layers * (attention + 3 * self.width * self.inner)
        return 2 * weights + 4 * self.layers * self.heads * self.head_width * context

    def decoding_flops(self, context: float) -> float:
        """The same with its logits."""
        return self.reading_flops(context) + 2 * self.vocabulary * self.width

    def gradient_flops(self, context: float) -> float:
        """Of one token in a forward and backward pass. Weights are frozen, so that the backward
        pass costs as much as the forward pass, and attention twice as much."""
        attention = 4 * self.layers * self.heads * self.head_width * context
        return 2 * self.reading_flops(context) + attention


def _most(config: PreTrainedConfig, name: str, default: int) -> int:
    """The size ``name``, of the layer where it is largest."""
    value = getattr(config, name, None)
    return int((max(value) if isinstance(value, list | tuple) else value) or default)
