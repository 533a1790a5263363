"""Figures that others have published, to stand beside ours.

GReaTer (arXiv 2412.09722), tables 1 and 3 and the ablation of the initial prompt; accuracy in
percent. What the paper shows only as bars is not here.
"""

from __future__ import annotations

import re

# The paper's names of its models, which are the instruction-tuned ones, and how these are called.
MODELS = {
    "Gemma-2-9B": re.compile(r"gemma-2-9b-it", re.IGNORECASE),
    "Llama-3-8B": re.compile(r"(meta-)?llama-3-8b-instruct(-hf)?", re.IGNORECASE),
}

BENCHMARKS = ("GSM8K", "BBH", "FOLIO")

# Methods in the paper's order, by our names for them.
METHODS = {
    "zero_shot_cot": "ZS-CoT",
    "ape": "APE",
    "apo": "APO",
    "pe2": "PE2",
    "textgrad": "TextGrad",
    "greater": "GReaTer",
}

_TABLE_1 = {
    "Gemma-2-9B": {
        "zero_shot_cot": (88.6, 71.7, 65.0),
        "ape": (88.6, 71.7, 67.5),
        "apo": (88.6, 72.3, 63.1),
        "pe2": (88.6, 68.9, 62.1),
        "textgrad": (87.8, 72.9, 67.5),
        "greater": (89.4, 76.6, 69.1),
    },
    "Llama-3-8B": {
        "zero_shot_cot": (79.6, 62.2, 58.6),
        "ape": (79.9, 63.1, 57.6),
        "apo": (81.1, 62.7, 58.6),
        "pe2": (80.1, 61.5, 62.6),
        "textgrad": (78.5, 58.5, 56.2),
        "greater": (82.6, 68.7, 62.6),
    },
}

# (model, method, benchmark) -> accuracy
TABLE_1 = {
    (model, method, benchmark): value
    for model, methods in _TABLE_1.items()
    for method, values in methods.items()
    for benchmark, value in zip(BENCHMARKS, values, strict=True)
}

TRANSFER_TASKS = (
    "movie_recommendation",
    "object_counting",
    "tracking_shuffled_objects_five_objects",
    "hyperbaton",
    "causal_judgement",
)

# (target, method, model that optimised) -> accuracy a task, in the order of TRANSFER_TASKS
TABLE_3 = {
    ("Gemma-2-9B", "textgrad", "Llama-3-8B"): (53, 78, 56, 84, 63),
    ("Gemma-2-9B", "apo", "Llama-3-8B"): (53, 84, 68, 84, 58),
    ("Gemma-2-9B", "pe2", "Llama-3-8B"): (54, 84, 68, 82, 60),
    ("Gemma-2-9B", "greater", "Llama-3-8B"): (55, 90, 85, 91, 60),
    ("Gemma-2-9B", "apo", "GPT-4"): (52, 84, 72, 82, 59),
    ("Llama-3-8B", "textgrad", "Gemma-2-9B"): (35, 29, 49, 65, 36),
    ("Llama-3-8B", "apo", "Gemma-2-9B"): (54, 69, 48, 71, 53),
    ("Llama-3-8B", "pe2", "Gemma-2-9B"): (56, 69, 49, 50, 53),
    ("Llama-3-8B", "greater", "Gemma-2-9B"): (58, 87, 56, 70, 52),
    ("Llama-3-8B", "apo", "GPT-4"): (56, 68, 49, 75, 51),
}

# (model, task, method, initial prompt) -> accuracy of what the search found
INITIAL_PROMPTS = {
    ("Llama-3-8B", "movie_recommendation", "greater", ""): 56.0,
    ("Llama-3-8B", "movie_recommendation", "greater", "misleading initial prompt"): 55.0,
}


def model_name(checkpoint: str) -> str:
    """The paper's name of a model, or the last part of its path."""
    last = checkpoint.rstrip("/").rsplit("/", 1)[-1]
    return next((name for name, pattern in MODELS.items() if pattern.fullmatch(last)), last)
