"""Find out what a run would read, take and write, without making it.

Flags, keys and refusals are those of optimize. The model is loaded, and a step is measured, unless
--nomeasure leaves its weights where they are.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from absl import flags

from prompt_optimization.commands.flags import execute, settings
from prompt_optimization.commands.short_flags import FOR_RUNS
from prompt_optimization.garbage import uncollected

if TYPE_CHECKING:
    from prompt_optimization.runs.check import Check

MEASURE = flags.DEFINE_bool("measure", True, "Load the model and measure a step.")

# Columns of a screen, of what stands before a section's lines, and of a span's name.
WIDTH, INDENT, NAME = 80, 8, 10


def main(arguments: Sequence[str], program: str) -> int:
    about = __doc__ or ""  # which python -OO removes
    return execute(check, arguments, program, about, short=FOR_RUNS)


def check(_: Sequence[str]) -> None:
    values, notes = settings()
    # Only now, because this loads torch.
    with uncollected():
        from prompt_optimization.runs.check import check as check_run
        from prompt_optimization.runs.display import Display

    display = Display(values["verbose"])
    try:
        for note in notes:
            display.note(note)
        found = check_run(values, display.note, display.warn, MEASURE.value)
    finally:
        display.close()
    # Without a cache or a token to write, a masked model needs little beside its weights.
    spent = (("memory", _memory(found)), ("work", _work(found)), ("time", _time(found)))
    for section, lines in (
        ("rows", _rows(found)),
        ("layout", _layout(found)),
        ("length", _length(found)),
        *(() if found.plan.models.masked else spent),
        ("files", _files(found)),
    ):
        _print(section, lines)
    print("the run could start")


def _print(section: str, lines: Iterator[str]) -> None:
    for number, line in enumerate(lines):
        start = f"{'' if number else section:{INDENT}}"
        # A line that begins with a bar is laid out already.
        if "|" in line[: NAME + 2]:
            print(f"{start}{line}")
            continue
        indent = " " * INDENT
        print(textwrap.fill(line, WIDTH, initial_indent=start, subsequent_indent=indent))
    print()


def _rows(found: Check) -> Iterator[str]:
    from prompt_optimization.tasks.examples import question_key

    for split, table in found.tables.items():
        rows = len(table.examples)
        different = len({question_key(example.question) for example in table.examples})
        again = f", {rows - different} of which repeat a question" if different < rows else ""
        both = split == "train" and "target" in found.tables
        among = ", those of the target among them" if both else ""
        yield f"'{table.path}' ({split}): {rows} rows{among}{again}"
    for split, examples in found.rows.items():
        of = split if split in found.tables else "train"
        numbers = [example.row for example in examples]
        yield f"{split}: {len(numbers)} rows from {min(numbers)} to {max(numbers)} of the {of} file"
    used = {
        (s if s in found.tables else "train", e.row) for s, es in found.rows.items() for e in es
    }
    # The rows of the target are among those of train.
    total = sum(len(t.examples) for name, t in found.tables.items() if name != "target")
    if unused := total - len(used):
        yield f"{unused} rows are in no split"


def _layout(found: Check) -> Iterator[str]:
    """The first training row, every span after its name."""
    encoded = found.encoded["train"]
    example, layout, tokenizer = encoded.examples[0], encoded.layout, encoded.layout.tokenizer
    yield f"row {example.row} as the model reads it; the name of each part stands before the bar"
    frame = layout.frame
    words = {"prompt": encoded.prompt.strip(), "question": example.question.strip()}
    parts: list[tuple[str, str]] = []
    for piece, slot in zip(frame.pieces, frame.slots, strict=False):
        parts += [("chat", piece), (slot, words[slot])]
    limit = found.plan.reasoning.max_new_tokens
    parts.append(("chat", frame.pieces[-1]))
    if layout.mask is not None:
        word = found.plan.models.label_words.get(example.answer.strip(), "")
        parts.append(("answer", f"{example.answer}, by the word '{word}'"))
    else:
        parts.append(("reasoning", f"(at most {limit} tokens)"))
    if encoded.has_targets and layout.mask is None:
        parts += [("extractor", layout.separator + layout.extractor), ("answer", example.answer)]
    for name, part in parts:
        if part:
            yield from _span(name, part)
    if not encoded.has_targets:
        yield f"no extractor: what the model writes is the answer, like {example.answer[:60]!r}"
    ids = encoded.prompt_ids(encoded.prompt)
    tokens = " ".join(repr(tokenizer.decode([one])) for one in ids)
    yield f"the prompt has {len(ids)} tokens: {tokens}"


def _span(name: str, text: str) -> Iterator[str]:
    """A part of the text with its line breaks; lines that are too long continue in the next one."""
    width = WIDTH - INDENT - NAME - 2
    for line in text.split("\n"):
        shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
        for piece in _pieces(shown, width):
            yield f"{name:{NAME}}| {piece}"
            name = ""


def _pieces(line: str, width: int) -> Iterator[str]:
    """``line`` in pieces that fit, cut after a space where there is one; at least one piece."""
    while len(line) > width:
        cut = line.rfind(" ", 0, width) + 1 or width
        yield line[:cut]
        line = line[cut:]
    yield line


def _length(found: Check) -> Iterator[str]:
    needed, split, row = found.longest()
    context, name = found.outline.context, found.outline.name
    limit = f"of the {context} of {name}" if context else f"; {name} does not say its context"
    yield f"the longest row, {row} of {split}, needs at most {needed} tokens {limit}"


def _memory(found: Check) -> Iterator[str]:
    import torch

    from prompt_optimization.models.memory import (
        CPU_ROWS,
        free_bytes,
        most_rows,
        row_bytes,
        rows_that_fit,
    )
    from prompt_optimization.models.placement import JOINT
    from prompt_optimization.optimizers.base import optimizer_class

    outline, (needed, _, _) = found.outline, found.longest()
    yield f"weights of {outline.name}: {_size(outline.weight_bytes)} on {_devices(found)}"
    row = row_bytes(needed, outline.shape.token_bytes)
    devices = [
        torch.device(name)
        for name in dict.fromkeys(each for names in found.devices for each in names.split(JOINT))
    ]
    rows = found.plan.compute.max_rows
    if not rows:
        most = max(map(most_rows, devices), default=CPU_ROWS)
        rows = rows_that_fit(dict.fromkeys(devices, row), most)
    yield (
        f"keys and values of {rows} of the longest rows side by side: up to {_size(rows * row)} "
        "(max_rows limits them)"
    )
    if optimizer_class(found.plan.run.method).differentiates:
        yield (
            "activations of one row in a backward pass: up to "
            f"{_size(needed * outline.shape.gradient_bytes)}"
        )
    for device in devices:
        if (free := free_bytes(device)) is not None:
            yield f"free on {device}: {_size(free)}"


def _work(found: Check) -> Iterator[str]:
    from prompt_optimization.optimizers.base import optimizer_class

    shape, (needed, _, _) = found.outline.shape, found.longest()
    new = found.plan.reasoning.max_new_tokens
    question = min(map(len, found.encoded["train"].before))
    # At the mean context of what comes after the question, which is read once for a whole search.
    context = (question + needed) / 2
    row = new * shape.decoding_flops(context)
    row += (needed - question - new) * shape.reading_flops(context)
    yield f"one row under one prompt: up to {_flops(row)}"
    if optimizer_class(found.plan.run.method).differentiates:
        gradient = (needed - question) * shape.gradient_flops(context)
        yield f"its gradient: up to {_flops(gradient)}"


def _flops(count: float) -> str:
    return f"{count / 1e12:.2g} TFLOP" if count >= 1e11 else f"{count / 1e9:.2g} GFLOP"


def _devices(found: Check) -> str:
    return ", ".join(found.devices) or "the cluster's devices"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _time(found: Check) -> Iterator[str]:
    from prompt_optimization.runs.check import expected

    measured, train = found.measured, len(found.rows["train"])
    if measured is None:
        yield "not measured (--nomeasure)"
        return
    yield (
        f"estimated from a few tokens on up to 32 rows, as if every reasoning had "
        f"{found.plan.reasoning.max_new_tokens} tokens; those that end earlier take less"
    )
    yield f"a prompt on the {train} training rows: {_duration(train * measured.row)}"
    if measured.step is not None:
        rows = f"{measured.evaluations:.0f} rows"
        yield f"a step of {found.plan.run.method}: {_duration(measured.step)}, {rows}"
    whole = expected(found)
    if whole is None:
        yield "what the whole search takes depends on the writer, which a check does not ask"
        return
    yield (
        f"the search: {_duration(whole.search)}, about {whole.steps:.0f} steps, ended by "
        f"{whole.reason} unless it ends earlier"
    )
    yield f"dev and test: {_duration(whole.held_out)}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}"
    return f"about {seconds:.2g} seconds" if seconds < 10 else f"about {seconds:.0f} seconds"


def _files(found: Check) -> Iterator[str]:
    existing = found.existing
    if existing.finished:
        yield f"nothing: the run in '{existing.log}' is finished already"
        return
    done = (
        "begun" if existing.data is None else f"continued after step {len(existing.data['steps'])}"
    )
    yield f"log, {done}: {existing.log}"
    yield "beside it while the run is unfinished: a checkpoint and a lock"
    if found.plan.method.writes:
        asked = "writer and judge are" if found.plan.method.judges else "the writer is"
        yield f"beside it: what {asked} asked, and the answers"
