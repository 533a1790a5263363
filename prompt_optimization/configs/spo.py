"""The demo's task with SPO, the small model in all roles: it answers, writes and judges.

From `experiments/`::

    python main.py --config=./configs/spo.py
    python main.py --config=./configs/spo.py --config.spo.judge=random

The judge compares the probabilities of two letters. `consistency` and `reference` are the other
judges to compare it with, and `random` is the floor. A model of 135 million parameters ignores the
tags that it is asked for, so its replies are taken as they are. About 2 minutes. Expect no gain:
two or three rounds bring a prompt that can be judged at all.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.demo import get_config as demo_config


def get_config() -> ConfigDict:
    config = demo_config()
    config.method = "spo"
    config.n_test_data = 60
    config.spo.questions = 6
    config.spo.rounds = 6
    config.spo.judge = "logprob"
    config.spo.requirements = "It works the problem out and ends with the right number."
    config.writer.max_tokens = 64
    config.writer.accept_raw = True
    config.result_prefix = "results/spo"
    return config
