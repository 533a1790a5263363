"""GReaTer for people who write Python: optimise a prompt for any transformers causal model.

from GReaTer import GreaterDataSet, GreaterOptimizer

optimizer = GreaterOptimizer(model=model, tokenizer=tokenizer)
outputs = optimizer.optimize(inputs=GreaterDataSet(data_path="task.jsonl"),
                             p_extractor="\\nThe exact answer:", rounds=80)
print(outputs.best)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from GReaTer.dataset import GreaterDataloader, GreaterDataSet
from prompt_optimization.errors import InputError
from prompt_optimization.threads import prefer_passive_waiting

if TYPE_CHECKING:
    from GReaTer.callbacks import GreaterCallback
    from GReaTer.config import OptimizeConfig
    from GReaTer.optimizer import GreaterOptimizer
    from GReaTer.outputs import GreaterOutputs, Prompt, PromptEvaluation, Round, open_recommender

__all__ = [
    "GreaterCallback",
    "GreaterDataSet",
    "GreaterDataloader",
    "GreaterOptimizer",
    "GreaterOutputs",
    "InputError",
    "OptimizeConfig",
    "Prompt",
    "PromptEvaluation",
    "Round",
    "open_recommender",
]

prefer_passive_waiting()
# Loaded when they are first asked for, because they load torch.
_MODULES = {
    "callbacks": ("GreaterCallback",),
    "config": ("OptimizeConfig",),
    "optimizer": ("GreaterOptimizer",),
    "outputs": ("GreaterOutputs", "Prompt", "PromptEvaluation", "Round", "open_recommender"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"GReaTer.{module}"), name)
    raise AttributeError(f"module 'GReaTer' has no attribute '{name}'")
