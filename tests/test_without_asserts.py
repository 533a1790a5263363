"""``python -O`` removes asserts; damaged files are refused by it in the same words."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from prompt_optimization.models.engine import Outcome
from prompt_optimization.runs.store.checkpoint import Checkpoint, save_checkpoint
from prompt_optimization.runs.store.log import RunLog
from prompt_optimization.runs.store.outputs import KEY, VALUES

ROOT = Path(__file__).resolve().parents[1]
READ = """
import sys
from pathlib import Path
from prompt_optimization.errors import InputError
{reader}
print("asserts" if __debug__ else "no asserts")
for path in map(Path, sys.argv[1:]):
    try:
        read(path)
        print(f"{{path.name}}: read")
    except InputError as error:
        print(f"{{path.name}}: {{error}}")
"""
LOG = "from prompt_optimization.runs.store.log import read_log as read"
CHECKPOINT = "from prompt_optimization.runs.store.checkpoint import load_checkpoint as read"
OUTPUTS = "from prompt_optimization.runs.store.outputs import Outputs as read"


def said(reader: str, paths: list[Path], *flags: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *flags, "-c", READ.format(reader=reader), *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONOPTIMIZE": ""},
    )
    return done.stdout.splitlines()


def check_refusals(reader: str, folder: Path, sound: str, words: str) -> None:
    """Every file of the folder but ``sound`` is refused, with ``words``, the same way each time."""
    paths = sorted(folder.iterdir())
    mode, *lines = said(reader, paths)
    without, *others = said(reader, paths, "-O")
    assert (mode, without) == ("asserts", "no asserts")
    assert lines == others and len(lines) == len(paths) > 3
    for path, line in zip(paths, lines, strict=True):
        if path.name == sound:
            assert line == f"{sound}: read"
        else:
            assert line.startswith(f"{path.name}: ") and words in line and str(path) in line


def test_damaged_logs(tmp_path: Path) -> None:
    log = RunLog.create(tmp_path / "sound.json", {"n_steps": 1}, {})
    scored = {"hits": {"strict": "10"}, "strict": {"n": 2}}
    log.data["environment"] = dict.fromkeys(["model", "weights", "dtype", "seed", "data"], "")
    log.data["environment"]["rows"] = {"test": [7, 8]}
    log.data |= {"initial": {"prompt": " a"}, "best": [{"prompt": " b"}]}
    log.finish("finished", evaluation={"chosen": " b", "test": {"initial": scored, "best": scored}})

    def damaged(name: str, damage: Callable[[dict[str, Any]], Any]) -> None:
        data = copy.deepcopy(log.data)
        damage(data)
        (tmp_path / f"{name}.json").write_text(json.dumps(data))

    damaged("params", lambda data: data.update(params=[]))
    damaged("steps", lambda data: data.update(steps={}))
    damaged("status", lambda data: data.update(status=3))
    damaged("run", lambda data: data["sessions"][0].update(run=""))
    damaged("started", lambda data: data["sessions"][0].update(started=None))
    damaged("chosen", lambda data: data["evaluation"].update(chosen=None))
    damaged("best", lambda data: data.update(best=[]))
    damaged("weights", lambda data: data["environment"].pop("weights"))
    damaged("hits", lambda data: data["evaluation"]["test"]["best"]["hits"].update(strict="101"))
    (tmp_path / "half.json").write_text((tmp_path / "sound.json").read_text()[:-40])
    (tmp_path / "list.json").write_text("[]")
    check_refusals(LOG, tmp_path, "sound.json", "is no log of a run, or damaged; name another file")


def test_damaged_checkpoints(tmp_path: Path) -> None:
    outcomes = [Outcome((5, 6), 0.5, True, 1.5, "12"), Outcome((7,), 0.25, False, 1.0)]
    sound = tmp_path / "sound"
    save_checkpoint(sound, Checkpoint("run", 0, {"outcomes": outcomes, "tensor": torch.ones(2)}))
    tensors = load_file(sound)
    with safe_open(sound, "pt") as file:
        metadata = file.metadata()

    def damaged(name: str, text: str = "", instead: str = "", **changed: torch.Tensor) -> None:
        assert text in metadata["values"]
        values = metadata["values"].replace(text, instead) if text else metadata["values"]
        save_file(tensors | changed, tmp_path / name, metadata | {"values": values})

    damaged("answers", ", null]", "]")
    damaged("outcome", '{"~outcome": 1}', '{"~outcome": 2}')
    damaged("state", '{"~tensor": 0}', '{"~tensor": 1}')
    damaged("values", '"run": "run"', '"runs": "run"')
    damaged("json", '"run": "run"', '"run": ')
    damaged("losses", loss=torch.ones(1, dtype=torch.float64))
    damaged("reasoning", reasoning=torch.ones(2, dtype=torch.int32))
    (tmp_path / "half").write_bytes(sound.read_bytes()[:-4])
    (tmp_path / "empty").write_bytes(b"")
    check_refusals(CHECKPOINT, tmp_path, "sound", "is damaged (")


def test_damaged_outputs(tmp_path: Path) -> None:
    record = dict.fromkeys((*KEY, *VALUES), "a")

    def damaged(name: str, *lines: str, end: str = "\n") -> None:
        (tmp_path / name).write_text("\n".join(lines) + end)

    line = json.dumps(record)
    damaged("sound", line, json.dumps(record | {"row": 3}))
    for field in ("task", "loss", "strict"):
        damaged(field, line, json.dumps({k: v for k, v in record.items() if k != field}))
    damaged("list", line, "[]")
    damaged("half", line[:-4], line)
    damaged("end", line, "something else", end="")
    check_refusals(OUTPUTS, tmp_path, "sound", "is no output of an evaluation; move the file away")
