"""What ``--config=`` names that is no Python file: YAML, a log, or the folder of a run."""

from ml_collections import ConfigDict

from prompt_optimization.runs.config_files import config_of


def get_config(path: str) -> ConfigDict:
    return config_of(path)
