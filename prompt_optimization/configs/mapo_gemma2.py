r"""Gemma-2-2B-it and Gemma-2-9B-it answer; a copy of the small one learns to rewrite for each.

From `experiments/`::

    python main.py --config=./configs/mapo_gemma2.py \
        --config.train_data=../data/BBH/object_counting.json \
        --config.extractor_text="Therefore, the final answer (use format: \$NUMBER\$) is \$"

The last step's `gains` are the matrix of both policies on both models, and `adapted` says whether
the policy of a model is better on it than the other one. Needs a GPU with about 50 GB of memory (2B
and 9B in bfloat16, a policy in float32 with its LoRA) and access to the gated weights
(`hf auth login`). Expect: not measured yet.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.mapo_llama3 import get_config as llama3_config
from prompt_optimization.configs.transfer_gemma2 import get_config as gemma2_config


def get_config() -> ConfigDict:
    config, like = gemma2_config(), llama3_config()
    config.method = "mapo"
    config.model_paths = ("google/gemma-2-2b-it", "google/gemma-2-9b-it")
    config.num_train_models = 2
    config.n_train_data = like.n_train_data
    config.max_new_tokens = like.max_new_tokens
    config.mapo = like.mapo
    config.mapo.policy_model = "google/gemma-2-2b-it"
    config.result_prefix = "results/mapo_gemma2"
    return config
