"""The runs below a folder on a page in the browser, also while they last.

The page shows runs of other processes and, on a shared disk, of other machines. It changes nothing.
"""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.errors import InputError
from prompt_optimization.paths import user_path
from prompt_optimization.report.found import FOLDER


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(program, description="Watch runs on a page in the browser.")
    parser.add_argument(
        "folder",
        nargs="?",
        type=user_path,
        default=FOLDER,
        help=f"({FOLDER}); runs below it are shown, however deep",
    )
    parser.add_argument("--port", type=int, default=0, help="default: one that is free")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    given = parser.parse_args(arguments)
    try:
        watch(given.folder, given.port, given.open)
    except InputError as error:
        return refused(error)
    except KeyboardInterrupt:
        print()
    return 0


def watch(folder: Path, port: int, opens: bool) -> None:
    """Serve the page on ``folder`` until Ctrl-C.

    Raises:
        InputError: there is no such folder, or the port cannot be used.
    """
    # Only now: help needs none of it.
    from prompt_optimization.report.scan import Scan
    from prompt_optimization.report.server import Server
    from prompt_optimization.report.table_facts import table_facts

    title = f"Runs in {folder.resolve().name}"
    with Server(Scan(folder), lambda: table_facts(folder), title, port) as server:
        print(f"{folder.resolve()} is shown at {server.url} until Ctrl-C", flush=True)
        if opens:
            webbrowser.open(server.url)
        server.serve_forever()
