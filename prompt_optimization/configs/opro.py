"""The demo's task with OPRO, the small model as its own writer.

From `experiments/`::

    python main.py --config=./configs/opro.py

A model of 135 million parameters ignores the tags that it is asked for, so its replies are taken as
they are. `--config.writer.base_url` and `--config.writer.model` name a better writer.

Expect, by one search of 480 rows with smaller settings (docs/lab_notes.md): 7.3 % of 150 test rows
right under the initial prompt, 20.0 % under the elected one, +12.7 [+5.7, +19.3].
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.demo import get_config as demo_config


def get_config() -> ConfigDict:
    config = demo_config()
    config.method = "opro"
    config.n_steps = 8
    config.opro.keep = 5
    config.writer.max_tokens = 64
    config.writer.accept_raw = True
    config.result_prefix = "results/opro"
    return config
