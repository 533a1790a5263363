r"""Llama-3-8B-Instruct answers and paraphrases; Llama-3.2-1B-Instruct learns to rewrite for it.

From `experiments/`::

    python main.py --config=./configs/mapo_llama3.py \
        --config.train_data=../data/BBH/object_counting.json \
        --config.extractor_text="Therefore, the final answer (use format: \$NUMBER\$) is \$"

Needs a GPU with about 40 GB of memory (8B in bfloat16, 1B in float32 with its LoRA) and access to
the gated weights (`hf auth login`). Expect: not measured yet.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.mapo_embedded import get_config as embedded_config
from prompt_optimization.configs.transfer_llama3 import get_config as llama3_config


def get_config() -> ConfigDict:
    config = llama3_config()
    config.method = "mapo"
    config.n_train_data = 64
    config.max_new_tokens = 512
    config.mapo = embedded_config().mapo
    config.mapo.policy_model = "meta-llama/Llama-3.2-1B-Instruct"
    config.mapo.candidates = 32
    config.mapo.fresh = 0.25
    config.mapo.epochs = 3
    config.mapo.pairs = 8
    config.mapo.prefer_epochs = 1
    config.mapo.rl = "grpo"
    config.result_prefix = "results/mapo_llama3"
    return config
