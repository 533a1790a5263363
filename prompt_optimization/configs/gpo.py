"""The demo's task with GPO, the small model as its own writer.

From `experiments/`::

    python main.py --config=./configs/gpo.py

The prompts that the writer is shown are chosen by a sentence encoder, which comes with the extra
`embed`. A model of 135 million parameters ignores the tags that it is asked for, so its replies are
taken as they are. `--config.writer.base_url` and `--config.writer.model` name a better writer.

Expect, by one search of 480 rows with smaller settings (docs/lab_notes.md): 7.3 % of 150 test rows
right under the initial prompt, 18.7 % under the elected one, +11.3 [+5.1, +17.2].
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.demo import get_config as demo_config


def get_config() -> ConfigDict:
    config = demo_config()
    config.method = "gpo"
    config.gpo.epochs = 2
    config.gpo.proposals = 4
    config.gpo.initial_step_size = 20
    config.gpo.final_step_size = 4
    config.writer.max_tokens = 64
    config.writer.accept_raw = True
    config.result_prefix = "results/gpo"
    return config
