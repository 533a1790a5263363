"""Make a table of outcomes for the method oirl out of what others have logged.

Give --pairs, a file with the columns question, prompt and right, or --labels, the release's
labels as an npz, with their --questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prompt_optimization.commands.arguments import Arguments, refused
from prompt_optimization.errors import InputError
from prompt_optimization.files import write_whole
from prompt_optimization.garbage import uncollected


def main(arguments: Sequence[str], program: str) -> int:
    parser = Arguments(
        program, description="Make a table of outcomes out of what others have logged."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--pairs", type=Path,
        help="CSV, JSON lines or JSON with the columns question, prompt and right, and perhaps "
        "draws, answer, split and heldout",
    )  # fmt: skip
    source.add_argument("--labels", type=Path, help="the release's labels, packed in an npz")
    parser.add_argument(
        "--questions", type=Path, action="append", default=[],
        help="what the labels are of: one file with both parts, or twice, training and test",
    )  # fmt: skip
    parser.add_argument("--dataset", default="", help="which of the labels, such as mawps")
    parser.add_argument("--out", type=Path, required=True, help="the table, such as table.npz")
    given = parser.parse_args(arguments)
    try:
        write(given.pairs, given.labels, given.questions, given.dataset, given.out)
    except InputError as error:
        return refused(error)
    return 0


def write(
    pairs: Path | None, labels: Path | None, questions: Sequence[Path], dataset: str, out: Path
) -> None:
    """Write the table of ``pairs`` or else of ``labels`` to ``out``.

    Raises:
        InputError: a file cannot be read or written, or the table would teach nothing.
    """
    # Only now, because the form of prompts loads torch.
    with uncollected():
        from prompt_optimization.optimizers.oirl.importing import of_pairs
        from prompt_optimization.optimizers.oirl.outcomes import both_sides, check_table
        from prompt_optimization.optimizers.oirl.released import of_released, read_asked

    if pairs is not None:
        table = of_pairs(pairs)
        check_table(table, "pairs")
    else:
        assert labels is not None
        table = of_released(labels, dataset, read_asked(questions))
        check_table(table, "labels")
    write_whole(out, table.to_bytes(), "out")
    print(
        f"{len(table.questions)} rows, {table.repeats} of which repeat a question, under "
        f"{len(table.prompts)} prompts: {int(table.draws.sum())} answers, "
        f"{100 * table.right.sum() / table.draws.sum():.1f} % right"
    )
    if tests := int(table.test.sum()):
        repeated = len(both_sides(table, table.test))
        print(f"{repeated} of {tests} test rows ask what a training row asks")
    print(out.resolve())
