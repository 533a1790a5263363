r"""Llama-3-8B-Instruct: a prompt that holds on a second group of questions without answers.

From `experiments/`, with a task file of your own that has a column `group`::

    python main.py --config=./configs/robust_llama3.py --config.train_data=FILE.csv \
        --config.extractor_text="Therefore, the final answer is \$" \
        --config.robust.source=NAME --config.robust.target=NAME

Rows of the target need no answer. Needs a GPU with about 20 GB of memory in bfloat16 and access to
the gated weights (`hf auth login`). Expect: not measured yet.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.transfer_llama3 import get_config as llama3_config


def get_config() -> ConfigDict:
    config = llama3_config()
    config.method = "robust"
    # Six prompts that see six rows of each group.
    config.n_train_data = 72
    config.max_new_tokens = 512
    config.result_prefix = "results/robust_llama3"
    return config
