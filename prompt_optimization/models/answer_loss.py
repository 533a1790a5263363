"""The loss of an answer, when it is not the mean cross-entropy of its tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch

from prompt_optimization.errors import InputError

# (log-probabilities [tokens, vocabulary], ids [tokens]) -> a single number. Log-probabilities
# serve both the losses that expect them and those that expect logits, because normalising them
# again changes nothing.
AnswerLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def loss_identity(
    function: AnswerLoss, vocabulary: int, device: torch.device
) -> dict[str, str | float]:
    """What a loss is known by in logs: its name, and to five digits its value on a made-up answer
    of three tokens, because two losses of one name give two values.

    Raises:
        InputError: see ``own_loss``.
    """
    logits = torch.linspace(-1, 1, 3 * vocabulary, device=device).view(3, vocabulary)
    answer = torch.arange(3, device=device) % vocabulary
    module = getattr(function, "__module__", "")
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return {
        "loss_function": f"{module}.{name}",
        "loss_value": float(f"{own_loss(function, logits, answer):.5g}"),
    }


def own_loss(function: AnswerLoss, logits: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """``function`` of one answer: a tensor without dimensions.

    Args:
        logits: [tokens, vocabulary], divided by their temperature.
        answer: [tokens].

    Raises:
        InputError: what comes out is no single finite number.
    """
    loss = function(logits.log_softmax(-1), answer)
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        kind = f"a tensor of shape {[*loss.shape]}" if isinstance(loss, torch.Tensor) else f"{loss}"
        raise InputError(
            f"loss_function gave {kind} for an answer of {len(answer)} tokens; let it return a "
            "tensor with one number, such as the mean over the tokens"
        )
    if not bool(torch.isfinite(loss)):
        raise InputError(f"loss_function gave {loss.item()}; let it return finite numbers")
    return loss.reshape(())
