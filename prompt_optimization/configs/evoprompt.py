"""The demo's task with EvoPrompt, the small model as its own writer.

From `experiments/`::

    python main.py --config=./configs/evoprompt.py

A model of 135 million parameters ignores the tags that it is asked for, so its replies are taken as
they are. `--config.writer.base_url` and `--config.writer.model` name a better writer.
`--config.evoprompt.algorithm=ga` is the other of the paper's two algorithms.

Expect, by one search of 480 rows with smaller settings (docs/lab_notes.md): 7.3 % of 150 test rows
right under the initial prompt, 20.0 % under the elected one, +12.7 [+6.2, +18.8].
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.demo import get_config as demo_config


def get_config() -> ConfigDict:
    config = demo_config()
    config.method = "evoprompt"
    config.n_steps = 6
    config.evoprompt.population = 5
    config.writer.max_tokens = 64
    config.writer.accept_raw = True
    config.result_prefix = "results/evoprompt"
    return config
