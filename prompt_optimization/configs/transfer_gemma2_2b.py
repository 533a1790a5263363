r"""Gemma-2-2B-it: gradient over reasoning on one task.

From `experiments/`::

    python main.py --config=./configs/transfer_gemma2_2b.py \
        --config.train_data=../data/BBH/object_counting.json \
        --config.extractor_text="Therefore, the final answer (use format: \$NUMBER\$) is \$" \
        --config.result_prefix=results/transfer_gemma2_2b

Needs a GPU with about 8 GB of memory in bfloat16 and access to the gated weights (`hf auth login`).
Expect (authors' released logs): training mistakes .496 at first, .400 at best.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.template import get_config as template_config


def get_config() -> ConfigDict:
    config = template_config()
    config.model_paths = ("google/gemma-2-2b-it",)
    config.extractor_style = "stars"
    config.max_new_tokens = 1024
    return config
