"""The demo's task with MAPO: SmolLM2-135M-Instruct answers, paraphrases and learns to rewrite.

From `experiments/`::

    python main.py --config=./configs/mapo_embedded.py

Three originals with 8 candidates each race on 16 training questions; 8 others are fresh. LoRA of
rank 8, then preferences. `--config.mapo.rl=grpo` adds 10 updates with the measured reward. A model
of 135 million parameters ignores the tags that it is asked for, so its replies are taken as they
are. Expect little: its own paraphrases are none. With a pool of good candidates a rewrite is worth
what the best of them is (docs/lab_notes.md).
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.demo import get_config as demo_config


def get_config() -> ConfigDict:
    config = demo_config()
    config.method = "mapo"
    config.n_dev_data = 24
    config.n_test_data = 60
    config.mapo.originals = (
        "Work out the numbers first, then give the answer.",
        "Write one short calculation and state the result.",
    )
    config.mapo.unseen = (
        "Explain your steps and finish with the number.",
        "Calculate carefully.",
    )
    config.mapo.candidates = 8
    config.mapo.fresh = 0.34
    # Few lessons: more passes, and smaller updates.
    config.mapo.epochs = 20
    config.mapo.pairs = 4
    config.mapo.prefer_epochs = 5
    config.writer.max_tokens = 48
    config.writer.temperature = 0.7
    config.writer.accept_raw = True
    config.result_prefix = "results/mapo_embedded"
    return config
