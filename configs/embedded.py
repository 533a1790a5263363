"""The demo."""

from ml_collections import ConfigDict

from configs.template import get_config as template_config


def get_config() -> ConfigDict:
    config = template_config()
    config.train_data = "../data/BBH/one_step_arithmetic.json"
    config.extractor_text = "Therefore, the final answer is $"
    return config
