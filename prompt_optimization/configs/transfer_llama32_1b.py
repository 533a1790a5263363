r"""Llama-3.2-1B-Instruct: gradient over reasoning on one task.

From `experiments/`::

    python main.py --config=./configs/transfer_llama32_1b.py \
        --config.train_data=../data/BBH/object_counting.json \
        --config.extractor_text="Therefore, the final answer (use format: \$NUMBER\$) is \$" \
        --config.result_prefix=results/transfer_llama32_1b

Needs a GPU with about 5 GB of memory in bfloat16 and access to the gated weights (`hf auth login`).
Expect (authors' released logs): training mistakes .628 at first, .456 at best.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.template import get_config as template_config


def get_config() -> ConfigDict:
    config = template_config()
    config.model_paths = ("meta-llama/Llama-3.2-1B-Instruct",)
    config.max_new_tokens = 1024
    # The template writes a date; without this it would be the day of the run.
    config.chat_template_kwargs.date_string = "26 Jul 2024"
    return config
