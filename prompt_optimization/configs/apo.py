"""The demo's task with APO, the small model as its own writer.

From `experiments/`::

    python main.py --config=./configs/apo.py

A model of 135 million parameters ignores the tags that it is asked for, so its replies are taken as
they are. `--config.writer.base_url` and `--config.writer.model` name a better writer.

Expect, by one search of 480 rows with smaller settings (docs/lab_notes.md): 7.3 % of 150 test rows
right under the initial prompt, 30.0 % under the elected one, +22.7 [+14.7, +30.0].
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.demo import get_config as demo_config


def get_config() -> ConfigDict:
    config = demo_config()
    config.method = "apo"
    config.apo.rounds = 3
    config.apo.beam = 2
    config.apo.race = "phases"
    config.writer.max_tokens = 64
    config.writer.accept_raw = True
    config.result_prefix = "results/apo"
    return config
