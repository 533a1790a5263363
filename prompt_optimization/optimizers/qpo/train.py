"""Supervised fine-tuning of the policy: the loss of a prompt after its request, by trl."""

from __future__ import annotations

import random
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

import numpy as np
import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.memory import is_out_of_memory
from prompt_optimization.optimizers.qpo.policy import Policy, Weights
from prompt_optimization.optimizers.qpo.returns import Pair
from prompt_optimization.optimizers.qpo.settings import QpoSettings

# The largest norm of a gradient, and the decay of weights, as released.
CLIP, DECAY = 0.25, 1e-4


def train(
    name: str,
    own: QpoSettings,
    pairs: Sequence[Pair],
    seed: int,
    *,
    begin: Weights | None = None,
    epochs: int,
    rate: float,
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Train a policy on ``pairs``.

    The trainer changes how its model is called, so it gets one of its own.

    Args:
        name: of the model.
        begin: weights that training begins from; the model's own when left out.

    Returns:
        the trained weights, and the mean loss of each epoch in nats a token.

    Raises:
        InputError: memory does not hold it, a pair does not fit the model, or its tokenizer has
            nothing to fill rows with.
    """
    trl, datasets = import_module("trl"), import_module("datasets")
    policy = Policy(name, own, seed)
    if begin is not None:
        policy.load(begin)
    if policy.tokenizer.pad_token is None and policy.tokenizer.eos_token is None:
        raise InputError(
            f"the tokenizer of the policy '{name}' has no token that ends a text; choose another "
            "policy",
            key="qpo.policy_model",
        )
    rows = policy.rows(pairs)
    data = datasets.Dataset.from_dict(
        {
            "input_ids": [[*request, *prompt] for request, prompt in rows],
            "labels": [[-100] * len(request) + [*prompt] for request, prompt in rows],
        }
    )
    policy.language.release()
    on_cpu = policy.language.device.type == "cpu"
    with tempfile.TemporaryDirectory() as folder, _generators_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = trl.SFTConfig(
            output_dir=folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=own.pairs,
            learning_rate=rate,
            weight_decay=DECAY,
            max_grad_norm=CLIP,
            lr_scheduler_type="linear",
            seed=seed,
            data_seed=seed,
            max_length=None,
            packing=False,
            use_cpu=on_cpu,
            bf16=False,
            gradient_checkpointing=False,
            logging_strategy="epoch",
            report_to=[],
            save_strategy="no",
            dataloader_num_workers=0,
            dataloader_pin_memory=not on_cpu,
            disable_tqdm=True,
        )
        arguments._n_gpu = min(arguments.n_gpu, 1)  # No copies on further devices.
        try:
            trainer = trl.SFTTrainer(
                policy.network, args=arguments, train_dataset=data,
                processing_class=policy.tokenizer,
            )  # fmt: skip
            trainer.remove_callback(import_module("transformers").PrinterCallback)
            trainer.train()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"memory does not hold the training of '{name}' with {own.pairs} pairs an update; "
                "train on fewer at a time, or a smaller model",
                key=("qpo.pairs", "qpo.policy_model"),
            ) from None
    losses = [float(each["loss"]) for each in trainer.state.log_history if "loss" in each]
    return policy.weights(), losses


@contextmanager
def _generators_kept() -> Iterator[None]:
    """The trainer seeds the generators of the whole process; leave them as they were."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
