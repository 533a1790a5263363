"""The demo's task with QPO: SmolLM2-135M-Instruct learns to write a prompt for each question.

From `experiments/`::

    python main.py --config=./configs/qpo_embedded.py

120 training questions under four prompts, one draw each: 80 are learnt from, and a loop writes two
prompts for each of the 40 others. LoRA of rank 8, 3 epochs. About half an hour on two cores, most
of it training. Expect 20 % right on test rows with what it writes, and 21 % with the best single
prompt, which dev elects; the initial prompt has 8 %.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.demo import get_config as demo_config


def get_config() -> ConfigDict:
    config = demo_config()
    config.method = "qpo"
    config.objective = "answers"
    config.n_train_data = 120
    config.n_dev_data = 40
    config.n_test_data = 100
    config.n_steps = 40
    config.qpo.prompts = ("plain", "steps", "parts", "Give only the number.")
    config.qpo.draws = 1
    config.qpo.batch = 20
    config.qpo.collect_rows = 40
    config.result_prefix = "results/qpo_embedded"
    return config
