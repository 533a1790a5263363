"""RLPrompt on a generated task with two labels: SmolLM2-135M-Instruct is policy and target.

From `experiments/`::

    python main.py --config=./configs/rlprompt_embedded.py

16 training questions, 8 prompts of 5 tokens a step, 100 steps, and as many random draws as a
control: 25,600 reasonings of a single token. The initial prompt is right for about 56 %, near
chance for two labels. Expect: not measured at this size; with 8 questions and 24 steps the reward
rose, and the elected prompt was worse than the initial one.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.template import get_config as template_config
from prompt_optimization.paths import data_folder


def get_config() -> ConfigDict:
    config = template_config()
    config.train_data = str(data_folder() / "BBH" / "navigate.json")
    config.method = "rlprompt"
    config.objective = "loss"
    config.connector = ""
    config.control_init = "Think carefully, then answer."
    # What the model begins to write by itself, cut after its first token.
    config.extractor_text = 'answer is "'
    config.max_new_tokens = 1
    config.n_train_data = 16
    config.n_dev_data = 50
    config.n_test_data = 150
    config.n_steps = 100
    config.rlprompt.reward = "gap"
    config.rlprompt.algorithm = "policy_gradient"
    config.rlprompt.control = "policy"
    config.result_prefix = "results/rlprompt_embedded"
    return config
