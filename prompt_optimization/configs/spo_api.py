"""SPO with writer and judge behind a server; the model that answers is loaded here.

From `experiments/`, with the server's key in OPENAI_API_KEY::

    python main.py --config=./configs/spo_api.py --config.writer.model=NAME \
        --config.writer.base_url=https://HOST/v1 --config.spo.template=FILE.yaml

The template is one of SPO's code. It brings the initial prompt, the requirements and the questions,
so nothing else is needed. A step asks the server 1 + 2 times the number of questions. With
`--config.judge.model=NAME --config.spo.judge=logprob` a model that is loaded here judges, and the
server is asked once a step. Expect: not measured yet.
"""

from ml_collections import ConfigDict

from prompt_optimization.configs.template import get_config as template_config


def get_config() -> ConfigDict:
    config = template_config()
    config.model_paths = ("smollm2-135m-instruct",)
    config.method = "spo"
    config.max_new_tokens = 256
    # The server's name is the user's; this one serves models on the same machine.
    config.writer.base_url = "http://localhost:8000/v1"
    config.writer.model = "served"
    config.result_prefix = "results/spo_api"
    return config
