"""Every option with its default.

Family configs start from ``get_config()`` of this file and set what differs. Any key can be
overridden on the command line with ``--config.KEY=VALUE``, by its flat name (``topk``) or within
its group (``greater.topk``). The config is locked: an unknown key or a value of another type is an
error that names the nearest known key. ``--help`` lists the keys in their groups; the rows
themselves stand beside the code that reads them (``prompt_optimization/keys.py`` says how).
"""

from ml_collections import ConfigDict

from prompt_optimization.runs.config import make_config


def get_config() -> ConfigDict:
    return make_config()
