"""What other models make of the initial and of the chosen prompt, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prompt_optimization.models.open import Say, open_models
from prompt_optimization.models.settings import ModelSettings
from prompt_optimization.runs.assemble import held_out_of
from prompt_optimization.runs.config import Plan
from prompt_optimization.runs.environment import describe_model
from prompt_optimization.runs.session import Session
from prompt_optimization.scoring.finalists import Finalist
from prompt_optimization.scoring.held_out import compare


def transfer_to(
    models: Sequence[ModelSettings],
    plan: Plan,
    make_room: Callable[[], None],
    note: Say,
    warn: Say,
) -> Callable[[Session, Finalist, Finalist], list[dict[str, Any]]] | None:
    """A session's transfer: opens ``models`` one after the other and scores the prompts on the
    test rows. None without models.

    Args:
        make_room: closes the models of the search, which the others need the room of.
    """
    if not models:
        return None

    def transfer(session: Session, *pair: Finalist) -> list[dict[str, Any]]:
        make_room()
        found = []
        for number, settings in enumerate(models, 1):
            split = f"transfer {number}: {settings.label}"
            with open_models([settings], plan.compute, note, warn) as (model,):
                session.score(split, held_out_of(plan, model), pair)
                initial, chosen = (session.result.held_out[split][each.name] for each in pair)
                found.append(
                    {
                        "model": model.call_any(describe_model),
                        "initial": initial.record(),
                        "best": chosen.record(),
                        "difference": compare(initial, chosen),
                    }
                )
        return found

    return transfer
