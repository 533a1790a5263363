"""One page for a folder of results; it needs no network and no other file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from prompt_optimization.optimizers.registry import figures_of
from prompt_optimization.report import plots
from prompt_optimization.report.measured import Results, variant
from prompt_optimization.report.names import method_name
from prompt_optimization.report.published import model_name
from prompt_optimization.report.render import is_text, shown
from prompt_optimization.report.tables import Table
from prompt_optimization.runs.naming import task_name
from prompt_optimization.runs.store.log import method_of, metric_of
from prompt_optimization.tasks.metrics.metric import called

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1e21; margin: 2rem auto; padding: 0 1rem;
       max-width: 76rem; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; } svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9em; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #e3e5e8; text-align: left; }
.number { text-align: right; } td { white-space: nowrap; }
thead th { border-bottom: 2px solid #888; }
details { border: 1px solid #e3e5e8; border-radius: 6px; margin: 0.6rem 0; padding: 0.4rem 0.9rem; }
summary { cursor: pointer; } .prompt { background: #f4f6f8; padding: 0.1rem 0.35rem; }
.note { color: #5b6067; }
"""


def page(title: str, tables: Sequence[Table], results: Results) -> str:
    """The page's HTML."""
    parts = [f"<h1>{escape(title)}</h1>", _counted(results)]
    for table in tables:
        parts.append(f"<h2>{escape(table.title)}</h2>")
        if table.note:
            parts.append(f'<p class="note">{escape(table.note)}</p>')
        parts.append(_table(table) if len(table.data) else "<p>Nothing measured yet.</p>")
    parts.extend(_methods(results.runs.values()))
    if results.runs:
        parts.append("<h2>Runs</h2>")
        # A run's own measurement stands before what an evaluation made of its prompt.
        kinds = {m.run: m.kind for m in reversed(results.measurements) if m.optimised_by}
        for path, log in results.runs.items():
            kind = kinds.get(log["sessions"][0]["run"], variant(log["params"]))
            parts.append(_run(path, log, kind))
    if results.left_out:
        parts.append("<h2>Left out</h2><ul>")
        parts.extend(f"<li>{escape(reason)}</li>" for reason in results.left_out)
        parts.append("</ul>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _counted(results: Results) -> str:
    return (
        f'<p class="note">{len(results.runs)} finished runs, {len(results.measurements)} '
        f"measurements on test rows; logs left out: {len(results.left_out)}. Accuracy is in "
        "percent, with 95 % intervals.</p>"
    )


def _table(table: Table) -> str:
    data = shown(table)
    kinds = ["" if is_text(table, name) else ' class="number"' for name in data]
    head = "".join(
        f"<th{kind}>{escape(str(name))}</th>" for kind, name in zip(kinds, data, strict=True)
    )
    rows = "\n".join(
        "<tr>"
        + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in data.itertuples(index=False, name=None)
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )


def _methods(logs: Iterable[dict[str, Any]]) -> Iterator[str]:
    """What methods draw of all their runs together."""
    by_method: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for log in logs:
        by_method[method_of(log)].append(log)
    for method, runs in by_method.items():
        if figures := figures_of(method):
            yield f"<h2>{escape(f'{method_name(method)}: {figures.HEADING}')}</h2>"
            yield plots.svg(plots.folder_figure(figures.draw, runs))


def _run(path: Path, log: dict[str, Any], kind: str) -> str:
    evaluation, environment = log["evaluation"], log["environment"]
    task, model = task_name(log["params"]["train_data"]), model_name(environment["model"])
    name = ", ".join(filter(None, (task, model, method_name(method_of(log)), kind)))
    rows = [("initial prompt", log["initial"]["prompt"]), ("chosen prompt", evaluation["chosen"])]
    prompts = "".join(
        f'<p>{label}: <span class="prompt">{escape(text.strip())}</span></p>'
        for label, text in rows
    )
    return (
        f"<details><summary>{escape(name)}, seed {environment['seed']}: objective "
        f"{log['initial']['objective']:.3f} to {log['best'][0]['objective']:.3f} in "
        f"{len(log['steps'])} steps{_accuracy(evaluation)}</summary>\n{prompts}"
        f'<p class="note">{escape(str(path))}; ended by {escape(str(log["ended"]))}</p>\n'
        f"{plots.svg(plots.run_figure(log))}</details>"
    )


def _accuracy(evaluation: dict[str, Any]) -> str:
    test = evaluation["test"]
    if not test:
        return ""
    metric = metric_of(test["best"])
    before, after = (100 * test[key][metric]["value"] for key in ("initial", "best"))
    return f", accuracy {before:.1f} % to {after:.1f} % {called(metric)}"
