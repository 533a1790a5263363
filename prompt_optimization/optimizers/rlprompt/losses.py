"""The losses of RLPrompt (arXiv 2205.12548): tensors in, tensors out.

n prompts of T tokens, from a vocabulary of V.
"""

from __future__ import annotations

import torch

# Added to the standard deviation that rewards are divided by, as released.
EPSILON = 1e-4


def normalised(values: torch.Tensor, weights: torch.Tensor, by_row: bool) -> torch.Tensor:
    """z-scores [n] of what the prompts of a step are worth.

    Args:
        values: [n, rows].
        weights: [rows], how much each row counts.
        by_row: take the z-score within each row, then the mean over rows; else the other way.
    """
    share = weights / weights.sum()
    if by_row:
        return _z(values) @ share
    return _z(values @ share)


def _z(values: torch.Tensor) -> torch.Tensor:
    """z-scores over the first dimension, with the standard deviation of a population."""
    spread = values.std(0, correction=0)
    return (values - values.mean(0)) / (spread + EPSILON)


def soft_q(
    logits: torch.Tensor,
    target: torch.Tensor,
    tokens: torch.Tensor,
    reward: torch.Tensor,
    parts: tuple[str, ...] = ("single", "multi"),
) -> dict[str, torch.Tensor]:
    """The path consistency losses of soft Q-learning, by part: the mean over prompts.

    Logits are taken for the values Q. V is their logsumexp, the advantage A of a token is Q - V.
    Reward comes after the last token only. ``single`` asks of each step that A is the change of V
    that the target copy sees, ``multi`` that the sum of A from each step to the end is the reward
    less V there.

    Args:
        logits: [n, T, V], with a gradient.
        target: [n, T, V] of the target copy.
        tokens: [n, T], the prompts.
        reward: [n].
    """
    value, bar = logits.logsumexp(-1), target.detach().logsumexp(-1)
    advantage = logits.gather(-1, tokens[..., None])[..., 0] - value
    found = {}
    if "single" in parts:
        after = torch.cat([bar[:, 1:], reward[:, None]], dim=1)
        found["single"] = (advantage - (after - bar)).square().sum(1).mean()
    if "multi" in parts:
        rest = advantage.flip(1).cumsum(1).flip(1)
        found["multi"] = (rest - (reward[:, None] - bar)).square().sum(1).mean()
    return found


def policy_gradient(
    logits: torch.Tensor, tokens: torch.Tensor, advantage: torch.Tensor, entropy_weight: float
) -> dict[str, torch.Tensor]:
    """REINFORCE with ``advantage`` [n] as what each prompt is worth, by part."""
    log_probs = logits.log_softmax(-1)
    chosen = log_probs.gather(-1, tokens[..., None])[..., 0].sum(1)
    found = {"policy_gradient": -(advantage * chosen).mean()}
    if entropy_weight:
        found["entropy"] = -entropy_weight * entropy(logits)
    return found


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Of the next token, in nats, the mean over prompts and places."""
    log_probs = logits.log_softmax(-1)
    # A token that cannot stand there adds nothing, and has no gradient.
    finite = log_probs.masked_fill(log_probs == -torch.inf, 0.0)
    return -(finite.exp() * finite * (log_probs > -torch.inf)).sum(-1).mean()


@torch.no_grad()
def move_towards(copy: torch.nn.Module, model: torch.nn.Module, rate: float) -> None:
    """Move the weights of ``copy`` by ``rate`` of the way to those of ``model`` (Polyak)."""
    for mine, theirs in zip(copy.parameters(), model.parameters(), strict=True):
        mine.lerp_(theirs, rate)
