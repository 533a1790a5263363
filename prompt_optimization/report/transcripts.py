"""What the models of a run wrote: answers to test rows, and a writer's replies.

Both lie beside the log in files that are read only when somebody asks for them. They may be damaged
or half written, and are never changed here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prompt_optimization.runs.store.outputs import run_outputs_path
from prompt_optimization.runs.store.replies import replies_path

# Requests to a writer that are shown, of a run that made more the last ones.
MOST_REQUESTS = 100


def written(log: Path) -> dict[str, bool]:
    """Which of ``transcripts`` there are for the run of ``log``."""
    return {"rows": run_outputs_path(log).exists(), "writer": replies_path(log).exists()}


def transcripts(log: Path) -> dict[str, Any]:
    """What was written in the run of ``log``.

    Returns:
        ``rows``: each test row under the initial prompt and under the found one, in this order;
        ``writer``: requests with the replies to them, after ``earlier`` ones that are left out.
    """
    rows = []
    for record in _records(run_outputs_path(log)):
        texts = {key: record.get(key) for key in ("question", "reasoning", "answer", "reference")}
        rows.append({"row": record.get("row")} | {key: str(text) for key, text in texts.items()})
    requests = []
    for record in _records(replies_path(log)):
        try:
            step, request = int(record["place"][0]), record["request"]
            parts = [request.get("system", ""), request["user"]]
            replies = [str(reply["text"]) for reply in record["replies"]]
        except (LookupError, TypeError, ValueError, AttributeError):
            continue
        asked = "\n\n".join(str(part) for part in parts if part)
        requests.append({"step": step, "request": asked, "replies": replies})
    earlier = max(0, len(requests) - MOST_REQUESTS)
    return {"rows": rows, "writer": requests[earlier:], "earlier": earlier}


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects in a file of one a line; lines that hold none are passed over."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            yield record
