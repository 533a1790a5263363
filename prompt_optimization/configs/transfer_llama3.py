r"""Llama-3-8B-Instruct, the paper's first model: gradient over reasoning on one task.

From `experiments/`::

    python main.py --config=./configs/transfer_llama3.py \
        --config.train_data=../data/BBH/object_counting.json \
        --config.extractor_text="Therefore, the final answer (use format: \$NUMBER\$) is \$" \
        --config.result_prefix=results/transfer_llama3

Needs a GPU with about 24 GB of memory in bfloat16 and access to
the gated weights (`hf auth login`).
Expect (published, Llama-3-8B): BBH mean 62.2 zero-shot, 68.7 optimised.
No number of ours has been measured on this model yet.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.template import get_config as template_config


def get_config() -> ConfigDict:
    config = template_config()
    config.model_paths = ("meta-llama/Meta-Llama-3-8B-Instruct",)
    config.max_new_tokens = 1024
    return config
