"""The demo's task with whole prompts and edits in one race, the small model as its own writer.

From `experiments/`::

    python main.py --config=./configs/hybrid.py

A model of 135 million parameters ignores the tags that it is asked for, so its replies are taken as
they are. `--config.writer.base_url` and `--config.writer.model` name a better writer.

What it gains has not been measured.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.opro import get_config as opro_config


def get_config() -> ConfigDict:
    config = opro_config()
    config.method = "hybrid"
    config.hybrid.keep = 5
    config.result_prefix = "results/hybrid"
    return config
