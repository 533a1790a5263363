"""Llama-3-8B-Instruct in all roles of SPO: it answers, writes and judges.

From `experiments/`::

    python main.py --config=./configs/spo_llama3.py \
        --config.train_data=../data/BBH/navigate.json

Training rows need no answers. Dev and test rows do, where there are some: `n_dev_data=0` and
`n_test_data=0` leave them out. Needs a GPU with about 20 GB of memory in bfloat16 and access to the
gated weights (`hf auth login`). Expect: not measured yet.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.transfer_llama3 import get_config as llama3_config


def get_config() -> ConfigDict:
    config = llama3_config()
    config.method = "spo"
    config.spo.questions = 5
    config.max_new_tokens = 512
    config.result_prefix = "results/spo_llama3"
    return config
