"""The demo's task with Prompt-OIRL: a prompt for each question, chosen without the model.

From `experiments/`::

    python main.py --config=./configs/oirl.py
    greater recommend --from=results/oirl "Tom has 7 apples and buys 5 more. How many has he?"

Six prompts, 96 questions, two draws. The bundled model is too weak for most prompts to matter, so
expect the report to say that the gain is open.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.demo import get_config as demo_config


def get_config() -> ConfigDict:
    config = demo_config()
    config.method = "oirl"
    config.objective = "answers"
    config.n_train_data = 96
    config.n_dev_data = 40
    config.n_test_data = 100
    config.n_steps = 40
    config.max_new_tokens = 40
    config.oirl.draws = 2
    config.result_prefix = "results/oirl"
    return config
