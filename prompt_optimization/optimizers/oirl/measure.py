"""What a reward model and the rules are worth on questions that they did not learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompt_optimization.optimizers.oirl.arrays import Floats
from prompt_optimization.optimizers.oirl.estimators import SMALLEST
from prompt_optimization.optimizers.oirl.outcomes import Outcomes
from prompt_optimization.optimizers.oirl.select import choose, pool
from prompt_optimization.optimizers.oirl.settings import RULES, OirlSettings
from prompt_optimization.scoring.statistics import is_graded, mean_value, paired_difference


def lookup(learnt: Outcomes, asked: Outcomes) -> Floats:
    """[questions, prompts] of ``asked``: the rates that the same questions have in ``learnt``, and
    the prompt's mean where a question is new. It shows what a split gives away."""
    merged = learnt.merged()
    found = np.tile(merged.means, (len(asked.questions), 1))
    rates = merged.rates
    places = {key: row for row, key in enumerate(merged.keys)}
    for row, key in enumerate(asked.keys):
        if key in places:
            known = rates[places[key]]
            found[row] = np.where(np.isnan(known), found[row], known)
    return found


def of_rewards(table: Outcomes, scores: Floats) -> dict[str, Any]:
    """How well ``scores`` foretell the outcomes of ``table``; None where there are none.

    Accuracy, precision, recall, F1 and AUC are means over prompts; all but the last take a score
    above .5 for right, as published. Within a prompt, AUC says whether scores distinguish
    questions. A figure that is unknown, as precision where nothing is taken for right, is None.
    ``always`` is the accuracy of the better of always right and always wrong.
    """
    tried = table.draws > 0
    if not tried.any():
        return {}
    right, draws = table.right, table.draws
    wrong, positive = draws - right, scores > 0.5
    total = draws.sum(0)
    hits, alarms, missed = ((positive * right).sum(0), (positive * wrong).sum(0),
                            (~positive * right).sum(0))  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        figures = {
            "accuracy": (hits + (~positive * wrong).sum(0)) / total,
            "precision": hits / (hits + alarms),
            "recall": hits / (hits + missed),
            "f1": 2 * hits / (2 * hits + alarms + missed),
        }
    base = float(right.sum() / draws.sum())
    chances = np.clip(scores[tried], SMALLEST, 1 - SMALLEST)
    weights = np.concatenate([right[tried], wrong[tried]])
    losses = np.concatenate([-np.log(chances), -np.log(1 - chances)])
    errors = np.concatenate([1 - chances, chances]) ** 2
    figures["auc"] = np.array(
        [_auc(*each) for each in zip(scores.T, right.T, wrong.T, strict=True)]
    )
    return {
        "pairs": int(tried.sum()),
        "answers": int(draws.sum()),
        "base_rate": base,
        "always": max(base, 1 - base),
        **{name: _mean(values) for name, values in figures.items()},
        "log_loss": float(weights @ losses / weights.sum()),
        "brier": float(weights @ errors / weights.sum()),
    }


def of_choices(
    table: Outcomes, scores: Floats, means: Floats, others: Mapping[str, Floats], own: OirlSettings
) -> dict[str, Any]:
    """What each rule's choices are worth on the rows of ``table``, and what each gains over the
    prompt that is best by the training questions.

    Args:
        scores: of the reward model, [questions, prompts].
        means: [prompts], over the training questions.
        others: further scores whose best prompt is chosen, by name.
    """
    rates, heldout = table.rates, table.heldout
    trained = pool("irl0", heldout)
    best = int(trained[np.nan_to_num(means[trained], nan=-1.0).argmax()])
    choices = {"best_single": np.full(len(rates), best)}
    for rule in RULES if heldout.any() else ("irl0",):
        choices[rule] = choose(rule, scores, heldout, means, own.threshold)
    for name, other in others.items():
        choices[name] = choose("irl0", other, heldout, means, own.threshold)
    found = {
        name: _worth(rates, chosen, pool(name if name in RULES else "irl0", heldout), best)
        for name, chosen in choices.items()
    }
    known = ~np.isnan(rates[:, trained]).any(1)
    on_test = rates[known][:, trained]
    if len(on_test):
        top = int(trained[on_test.mean(0).argmax()])
        found["best_on_test"] = _worth(rates, np.full(len(rates), top), trained, best)
        found["oracle"] = _worth(
            rates, trained[np.nan_to_num(rates[:, trained], nan=-1.0).argmax(1)], trained, best
        )
    return {name: each for name, each in found.items() if each}


def _auc(scores: Floats, right: Floats, wrong: Floats) -> float:
    """Of one prompt, [questions]; not a number where all answers are alike."""
    weights = np.concatenate([right, wrong])
    kept = weights > 0
    labels = np.repeat([1.0, 0.0], len(scores))[kept]
    if len({*labels.tolist()}) < 2:
        return math.nan
    metrics = import_module("sklearn.metrics")
    both = np.tile(scores, 2)[kept]
    return float(metrics.roc_auc_score(labels, both, sample_weight=weights[kept]))


def _worth(
    rates: Floats, chosen: NDArray[np.int64], among: NDArray[np.int64], best: int
) -> dict[str, Any]:
    """On the rows where all that could have been chosen is known."""
    rows = np.flatnonzero(~np.isnan(rates[:, [*among, best]]).any(1))
    if not len(rows):
        return {}
    values = rates[rows, chosen[rows]].tolist()
    singles = rates[rows, best].tolist()
    return {
        **asdict(mean_value(values, graded=is_graded(values))),
        "gain": asdict(paired_difference(singles, values)),
        "differs": float((chosen[rows] != best).mean()),
    }


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
