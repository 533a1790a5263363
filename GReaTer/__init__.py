"""GReaTer for people who write Python: optimise a prompt for any transformers causal model.

from GReaTer import GreaterDataSet, GreaterOptimizer

optimizer = GreaterOptimizer(model=model, tokenizer=tokenizer)
outputs = optimizer.optimize(inputs=GreaterDataSet(data_path="task.jsonl"),
                             p_extractor="\\nThe exact answer:", rounds=80)
print(outputs.best)
"""

from GReaTer.callbacks import GreaterCallback
from GReaTer.config import OptimizeConfig
from GReaTer.dataset import GreaterDataloader, GreaterDataSet
from GReaTer.optimizer import GreaterOptimizer
from GReaTer.outputs import GreaterOutputs, Prompt, PromptEvaluation, Round
from prompt_optimization.errors import InputError

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
]
