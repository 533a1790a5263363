"""The policy is trained by trl: on the prompts that it should write, on pairs of a better and a
worse prompt, or on a reward for what it writes."""

from __future__ import annotations

import copy
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch

from prompt_optimization.errors import InputError
from prompt_optimization.models.memory import is_out_of_memory
from prompt_optimization.optimizers.trained.policy import Ids, Policy, Weights

# The largest norm of a gradient, and the decay of weights, as QPO's authors released them.
CLIP, DECAY = 0.25, 1e-4

# What training gives: the weights, and one figure an epoch or update.
Made = tuple[dict[str, torch.Tensor], list[float]]


@dataclass(frozen=True)
class Lesson:
    """A prompt that the policy should write when it is asked ``request``.

    Attributes:
        worse: a prompt that it should rather not write; only ``dpo`` reads it.
    """

    request: str
    prompt: str
    worse: str = ""


def sft(
    policy: Policy,
    lessons: Sequence[Lesson],
    seed: int,
    *,
    begin: Weights | None = None,
    epochs: int,
    rate: float,
) -> Made:
    """Supervised fine-tuning: the loss of a prompt after its request, and that alone.

    The trainer changes how its model is called, so the policy is used up.

    Args:
        begin: weights that training begins from; the policy's own when left out.

    Returns:
        the trained weights, and the mean loss of each epoch in nats a token.

    Raises:
        InputError: memory does not hold it, or a lesson does not fit the model.
    """
    asked, prompts = _read(policy, lessons)
    data = _dataset(
        input_ids=[[*request, *prompt] for request, prompt in zip(asked, prompts, strict=True)],
        labels=[
            [-100] * len(request) + [*prompt]
            for request, prompt in zip(asked, prompts, strict=True)
        ],
    )

    def make(trl: Any, common: dict[str, Any]) -> Any:
        arguments = _one_device(
            trl.SFTConfig(
                **common, num_train_epochs=epochs, learning_rate=rate, max_length=None,
                packing=False, per_device_train_batch_size=policy.own.pairs,
                logging_strategy="epoch",
            )
        )  # fmt: skip
        return trl.SFTTrainer(
            policy.network, args=arguments, train_dataset=data, processing_class=policy.tokenizer
        )

    return _train(policy, seed, begin, make, "loss", f"{policy.own.pairs} pairs", "pairs")


def dpo(
    policy: Policy,
    lessons: Sequence[Lesson],
    seed: int,
    *,
    begin: Weights | None = None,
    epochs: int,
    rate: float,
    beta: float,
) -> Made:
    """Direct preference optimisation (Rafailov et al., 2023) on pairs of prompts: the policy is
    moved towards the better one, beside what it was when it began.

    Args:
        begin: weights that training begins from; the policy's own when left out.
        beta: how closely it stays to them.

    Returns:
        the trained weights, and the mean loss of each epoch.

    Raises:
        InputError: as ``sft``.
    """
    asked, better = _read(policy, lessons)
    _, worse = _read(policy, [Lesson(each.request, each.worse) for each in lessons])
    data = _dataset(prompt_ids=asked, chosen_ids=better, rejected_ids=worse)

    def make(trl: Any, common: dict[str, Any]) -> Any:
        class OnIds(trl.DPOTrainer):
            """Takes the ids as they are, which a chat's turns may not survive as text."""

            def _prepare_dataset(self, dataset: Any, *rest: Any) -> Any:
                return dataset

        arguments = _one_device(
            trl.DPOConfig(
                **common, num_train_epochs=epochs, learning_rate=rate, beta=beta, max_length=None,
                per_device_train_batch_size=policy.own.pairs, logging_strategy="epoch",
            )
        )  # fmt: skip
        # Of a LoRA the trainer keeps a copy itself; of all weights it would read the model's own.
        full = policy.own.adapter == "full"
        return OnIds(
            policy.network, copy.deepcopy(policy.network) if full else None, args=arguments,
            train_dataset=data, processing_class=policy.tokenizer,
        )  # fmt: skip

    return _train(policy, seed, begin, make, "loss", f"{policy.own.pairs} pairs", "pairs")


# (what the policy was asked, what it wrote, the update's number) -> a reward for each text.
Reward = Callable[[str, Sequence[str], int], Sequence[float]]


def grpo(
    policy: Policy,
    requests: Sequence[str],
    reward: Reward,
    seed: int,
    *,
    begin: Weights | None = None,
    updates: int,
    group: int,
    rate: float,
    beta: float,
) -> Made:
    """Group relative policy optimisation (Shao et al., 2024): an update draws ``group`` prompts for
    one request, and moves the policy towards those with more reward than the others.

    Args:
        begin: weights that training begins from; the policy's own when left out.
        beta: weight of the divergence from them.

    Returns:
        the trained weights, and the mean reward of each update.

    Raises:
        InputError: as ``sft``.
        And what ``reward`` raises.
    """
    ids = dict(zip(requests, policy.asked(requests), strict=True))
    policy.check_room(max(map(len, ids.values())) + policy.own.length)
    done = 0

    def rewarded(prompts: list[str], completions: list[str], **rest: Any) -> list[float]:
        nonlocal done
        assert len({*prompts}) == 1, "an update asks one request"
        found = [float(each) for each in reward(prompts[0], completions, done)]
        done += 1
        return found

    def make(trl: Any, common: dict[str, Any]) -> Any:
        class OnIds(trl.GRPOTrainer):
            """Asks in the policy's own chat format."""

            def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, Any]:
                return [[*ids[each]] for each in prompts], None, {}

        policy.network.generation_config.eos_token_id = sorted(policy.language.stop_ids)
        arguments = _one_device(
            trl.GRPOConfig(
                **common, max_steps=updates, learning_rate=rate, beta=beta, num_generations=group,
                per_device_train_batch_size=group, max_completion_length=policy.own.length,
                temperature=1.0, logging_steps=1,
            )
        )  # fmt: skip
        return OnIds(
            policy.network, rewarded, args=arguments, train_dataset=_dataset(prompt=[*requests]),
            processing_class=policy.tokenizer,
        )  # fmt: skip

    return _train(policy, seed, begin, make, "reward", f"{group} prompts")


def _read(policy: Policy, lessons: Sequence[Lesson]) -> tuple[list[Ids], list[Ids]]:
    """The ids of the requests, and those of the prompts.

    Raises:
        InputError: a lesson does not fit the model.
    """
    asked = policy.asked([each.request for each in lessons])
    prompts = policy.replied([each.prompt for each in lessons])
    policy.check_room(max(len(a) + len(b) for a, b in zip(asked, prompts, strict=True)))
    return asked, prompts


def _dataset(**columns: Any) -> Any:
    return import_module("datasets").Dataset.from_dict(columns)


def _one_device(arguments: Any) -> Any:
    """``arguments`` without copies of the policy on further devices."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _train(
    policy: Policy,
    seed: int,
    begin: Weights | None,
    make: Callable[[Any, dict[str, Any]], Any],
    figure: str,
    size: str,
    *keys: str,
) -> Made:
    """Carry out the trainer that ``make`` gives.

    Args:
        figure: of the trainer's log, what is returned beside the weights.
        size: of an update, in words.
        keys: of the policy's settings, which decide it.
    """
    if begin is not None:
        policy.load(begin)
    policy.language.release()
    on_cpu = policy.language.device.type == "cpu"
    with tempfile.TemporaryDirectory() as folder, _generators_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        common = {
            "output_dir": folder,
            "weight_decay": DECAY,
            "max_grad_norm": CLIP,
            "lr_scheduler_type": "linear",
            "seed": seed,
            "data_seed": seed,
            "use_cpu": on_cpu,
            "bf16": False,
            "gradient_checkpointing": False,
            "report_to": [],
            "save_strategy": "no",
            "dataloader_num_workers": 0,
            "dataloader_pin_memory": not on_cpu,
            "disable_tqdm": True,
        }
        try:
            trainer = make(import_module("trl"), common)
            trainer.remove_callback(import_module("transformers").PrinterCallback)
            trainer.train()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"memory does not hold the training of '{policy.name}' with {size} an update; "
                "train on fewer at a time, or a smaller model",
                key=[f"{policy.own.group}.{name}" for name in (*keys, "policy_model")],
            ) from None
    figures = [float(each[figure]) for each in trainer.state.log_history if figure in each]
    return policy.weights(), figures


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
