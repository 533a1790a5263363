r"""Llama-3.2-1B-Instruct: a prompt of five tokens by reinforcement learning.

From `experiments/`::

    python main.py --config=./configs/rlprompt_llama32_1b.py \
        --config.train_data=../data/BBH/navigate.json

Any task works. Where two answers begin with the same token, set
`--config.rlprompt.reward=hit_minus_loss`. Needs a GPU with about 10 GB of memory in bfloat16,
because the policy is a second copy, and access to the gated weights (`hf auth login`). Expect: not
measured yet.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.transfer_llama32_1b import get_config as llama_config


def get_config() -> ConfigDict:
    config = llama_config()
    config.method = "rlprompt"
    config.objective = "loss"
    config.connector = ""
    config.n_train_data = 32
    config.max_new_tokens = 1
    config.n_steps = 2000
    config.rlprompt.reward = "gap"
    config.rlprompt.prompts_per_step = 16
    config.rlprompt.control = "policy"
    config.result_prefix = "results/rlprompt_llama32_1b"
    return config
