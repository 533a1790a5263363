"""Send the runs below a folder to a tracker, from their logs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.errors import InputError
from prompt_optimization.paths import user_path
from prompt_optimization.report.found import find
from prompt_optimization.runs.store.collection import read_collection
from prompt_optimization.runs.trackers import TRACKERS, check_tracker


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(
        program,
        description="Send runs to a tracker, from their logs. What is there of them from before is "
        "replaced. --config.track=NAME of greater optimize does it while a run lasts.",
    )
    parser.add_argument(
        "folder", type=user_path, help="logs below it count, however deep; or a log"
    )
    parser.add_argument("--to", choices=TRACKERS, required=True)
    given = parser.parse_args(arguments)
    try:
        return fill_in(given.folder, given.to)
    except InputError as error:
        return refused(error)


def fill_in(folder: Path, name: str) -> int:
    """Send every log below ``folder``, or the log that it is; the exit code.

    Raises:
        InputError: there is no log, or the tracker's package is missing.
    """
    check_tracker(name, "to")
    from prompt_optimization.runs.track import Track  # loads torch, which the help does without

    found = read_collection(folder) if folder.is_dir() else None
    runs = {(run := find(str(folder))).path: run.log} if found is None else found.logs
    for reason in found.left_out if found else ():
        print(f"left out: {reason}", file=sys.stderr)
    if not runs:
        raise InputError(f"folder '{folder}' holds no log of a run; give another one")
    failed = 0
    for path, log in runs.items():
        try:
            track = Track(name)
            track.send(path, log)
            track.close(log)
        except Exception as error:  # whatever the tracker raises; the other runs are sent
            failed += 1
            print(f"failed: {path} ({type(error).__name__}: {error})", file=sys.stderr)
    print(f"{len(runs) - failed} of {len(runs)} runs sent to {name}")
    return int(bool(failed))
