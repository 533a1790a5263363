r"""Llama-3-8B-Instruct answers; Llama-3.2-1B-Instruct learns to write a prompt for each question.

From `experiments/`::

    python main.py --config=./configs/qpo_llama3.py \
        --config.train_data=../data/BBH/object_counting.json \
        --config.extractor_text="Therefore, the final answer (use format: \$NUMBER\$) is \$"

Needs a GPU with about 40 GB of memory (8B in bfloat16, 1B in float32 with its LoRA) and access to
the gated weights (`hf auth login`). Expect: not measured yet.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.transfer_llama3 import get_config as llama3_config


def get_config() -> ConfigDict:
    config = llama3_config()
    config.method = "qpo"
    config.objective = "answers"
    config.n_train_data = 150
    config.max_new_tokens = 512
    config.n_steps = 60
    config.qpo.policy_model = "meta-llama/Llama-3.2-1B-Instruct"
    config.qpo.batch = 16
    config.qpo.collect_rows = 50
    config.qpo.loops = 2
    config.result_prefix = "results/qpo_llama3"
    return config
