r"""RoBERTa-large fills a mask on SST-2: a prompt of five tokens, by distilgpt2 as the policy.

From `experiments/`, with the extra hub::

    python main.py --config=./configs/rlprompt_roberta_large.py

32 training questions, the template "{question} {prompt} {mask} .", the words terrible and great,
and the release's 12,000 steps of 16 prompts. The test questions are from the validation split,
because the labels of the hub's test split are hidden. Needs a GPU. Expect: not measured yet.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.template import get_config as template_config


def get_config() -> ConfigDict:
    config = template_config()
    config.train_data = "hf:stanfordnlp/sst2@train"
    config.test_data = "hf:stanfordnlp/sst2@validation"
    config.task.question_column = ("sentence",)
    config.task.answer_column = ("label",)
    config.model_paths = ("FacebookAI/roberta-large",)
    config.model.label_words = {"0": "terrible", "1": "great"}
    config.method = "rlprompt"
    config.rlprompt.behaviour = "published"
    config.rlprompt.policy_model = "distilbert/distilgpt2"
    config.n_train_data = 32
    config.n_dev_data = 32
    config.n_test_data = 400
    config.n_steps = 12000
    config.result_prefix = "results/rlprompt_roberta_large"
    return config
