r"""Gemma-2-9B-it, the paper's second model: gradient over reasoning on one task.

From `experiments/`::

    python main.py --config=./configs/transfer_gemma2.py \
        --config.train_data=../data/BBH/object_counting.json \
        --config.extractor_text="Therefore, the final answer (use format: \$NUMBER\$) is \$" \
        --config.result_prefix=results/transfer_gemma2

Needs a GPU with about 28 GB of memory in bfloat16 and access to
the gated weights (`hf auth login`).
Expect (published, Gemma-2-9B): BBH mean 71.7 zero-shot, 76.6 optimised.
No number of ours has been measured on this model yet.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.template import get_config as template_config


def get_config() -> ConfigDict:
    config = template_config()
    config.model_paths = ("google/gemma-2-9b-it",)
    config.extractor_style = "stars"
    config.max_new_tokens = 1024
    return config
