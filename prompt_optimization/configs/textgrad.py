"""The demo's task with TextGrad, the small model as its own writer.

From `experiments/`::

    python main.py --config=./configs/textgrad.py

A model of 135 million parameters ignores the tags that it is asked for, so its replies are taken as
they are. `--config.writer.base_url` and `--config.writer.model` name a better writer.

Expect little: in the one search that was measured (docs/lab_notes.md) this writer had nothing new
to say after three steps.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.demo import get_config as demo_config


def get_config() -> ConfigDict:
    config = demo_config()
    config.method = "textgrad"
    config.textgrad.steps = 8
    config.writer.max_tokens = 64
    config.writer.accept_raw = True
    config.result_prefix = "results/textgrad"
    return config
