"""What the log keeps of prompts and steps."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from prompt_optimization.optimizers.greater.state import Scored, Step


def scored_record(scored: Scored) -> dict[str, Any]:
    evaluation = scored.evaluation
    return {
        "prompt": scored.text,
        "ids": list(scored.ids),
        "found_at_step": scored.step,
        "samples": scored.samples,
        "objective": evaluation.objective,
        "loss": evaluation.loss,
        "mistakes": evaluation.mistakes,
        "nll": evaluation.nll,
    }


def _per_sample(scored: Scored) -> dict[str, Any]:
    """Nothing for a candidate that was given up: its samples are some of them, in no order."""
    outcomes = () if scored.evaluation.capped else scored.evaluation.outcomes
    return {
        "losses": [outcome.loss for outcome in outcomes],
        "wrong": [int(outcome.mistake) for outcome in outcomes],
    }


def step_record(step: Step, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    decode = tokenizer.decode
    return {
        "step": step.index,
        "position": step.position,
        "appended": step.appended,
        "samples": step.samples,
        "topk": step.topk,
        "proposals": [
            {"token": token, "text": decode([token]), "gradient": gradient}
            for token, gradient in zip(step.proposals, step.gradients, strict=False)
        ],
        "capped": {
            "candidates": sum(c.scored.evaluation.capped for c in step.candidates),
            "rows": sum(step.samples - c.scored.samples for c in step.candidates),
        },
        "shortlist": [
            {
                "token": candidate.token,
                "text": decode([candidate.token]),
                "gradient": candidate.gradient,
                **scored_record(candidate.scored),
                "capped": candidate.scored.evaluation.capped,
                **_per_sample(candidate.scored),
            }
            for candidate in step.candidates
        ],
        "chosen": step.chosen,
        "accepted": step.accepted,
        "incumbent": scored_record(step.incumbent),
        "events": list(step.events),
        "seconds": step.seconds,
        "busy": list(step.busy),
        "tokens": step.tokens,
    }
