"""A run's prompt in the format of another tool."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.commands.show import shown
from prompt_optimization.errors import InputError
from prompt_optimization.files import write_whole
from prompt_optimization.paths import user_path
from prompt_optimization.report.found import Found, find

# Each with what it writes.
FORMATS = {
    "text": "the prompt as it is pasted",
    "json": "the prompt with its chat, extractor and figures",
    "lm-eval": "a folder: a task that gives the log's figures",
    "promptfoo": "a folder: a configuration with the prompt beside the initial one",
    "dspy": "the saved state of a dspy.Predict",
    "mlflow": "a version in the registry and a run; --out is the address of a server or store",
}


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(
        program,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A run's prompt in the format of another tool:\n\n"
        + "\n".join(f"  {name:10} {what}" for name, what in FORMATS.items()),
    )
    parser.add_argument("run", help="a log, or a run's name; see greater show --help")
    parser.add_argument("--to", choices=FORMATS, required=True)
    parser.add_argument("--out", help="a file, or a folder of files; the screen for single files "
                        "when left out, and for folders RUN-FORMAT here")  # fmt: skip
    given = parser.parse_args(arguments)
    try:
        export(find(given.run), given.to, given.out)
    except InputError as error:
        return refused(error)
    return 0


def export(run: Found, form: str, out: str | None) -> None:
    """Write ``run`` in one of ``FORMATS`` to ``out`` or where it belongs.

    Raises:
        InputError: the run cannot be written so, or ``out`` cannot be written.
    """
    if out is not None and not out.strip():
        raise InputError("an empty place is none; give a file or folder, or leave it out",
                         key="out")  # fmt: skip
    if form == "mlflow":
        from prompt_optimization.report.export.mlflow import register

        print(register(run, out or ""))
    elif form in ("lm-eval", "promptfoo"):
        made, notes = _folder_of(form)(run)
        _write_folder(user_path(out or f"{run.path.stem}-{form}"), made)
        _say(notes)
    else:
        text, notes = _text(run, form)
        if out is None:
            print(text, end="")
        else:
            write_whole(user_path(out), text.encode(), "out")
            print(user_path(out).resolve())
        _say(notes)


def _folder_of(form: str) -> Callable[[Found], tuple[dict[str, str], list[str]]]:
    # Only now, because this loads what reads the task's rows.
    from prompt_optimization.report.export import lm_eval, promptfoo

    return lm_eval.files if form == "lm-eval" else promptfoo.files


def _text(run: Found, form: str) -> tuple[str, list[str]]:
    if form == "dspy":
        from prompt_optimization.report.export.dspy import state

        return state(run)
    return f"{shown(run, run.chosen, form)}\n", []


def _write_folder(folder: Path, made: Mapping[str, str]) -> None:
    """Write the files into ``folder``, which may hold an earlier export.

    Raises:
        InputError: it holds something else, or cannot be written.
    """
    if folder.is_dir() and (others := {path.name for path in folder.iterdir()} - set(made)):
        raise InputError(
            f"folder '{folder}' holds something else ({sorted(others)[0]}); choose another place",
            key="out",
        )
    for name, text in made.items():
        write_whole(folder / name, text.encode(), "out")
    print(folder.resolve())


def _say(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
