"""A log is a config, and so is YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prompt_optimization.configs._file import get_config
from prompt_optimization.errors import InputError
from prompt_optimization.runs.config import all_keys, plan, values_of
from prompt_optimization.runs.config_files import config_of, left_out
from prompt_optimization.runs.store.log import RunLog
from tests.runs import harness


@pytest.fixture
def log(small_run: dict[str, Any], tmp_path: Path) -> Path:
    """The log of a run that has just begun, with a setting of its own."""
    given = harness.values(small_run | {"n_steps": 3, "keep": ("step by step",), "topk": 7})
    path = tmp_path / "runs" / "mine_20260102-030405-1.json"
    data_of_environment = {"data": {}, "model": "m"}
    RunLog.create(path, plan(given | {"resume": "auto"}).params, data_of_environment)
    return path


def test_a_log_repeats_its_run_beside_itself(log: Path) -> None:
    params = json.loads(log.read_text())["params"]
    found = json.loads(json.dumps(plan(values_of(config_of(str(log)))).params))
    assert found["result_prefix"] == str(log.parent / "mine")
    assert (found["resume"], found["logfile"]) == ("no", "")
    changed = {name for name, value in params.items() if found[name] != value}
    assert changed == {"result_prefix", "resume"}
    assert values_of(config_of(str(log.parent))) == values_of(config_of(str(log)))


def test_keys_of_other_versions(log: Path) -> None:
    data = json.loads(log.read_text())
    del data["params"]["must_end" if "must_end" in data["params"] else "scoring.must_end"]
    log.write_text(json.dumps(data | {"params": data["params"] | {"older": 1, "newer": 2}}))
    assert left_out(str(log)) == (
        "the log's keys older, newer are unknown to this version and left out"
    )
    values = values_of(config_of(str(log)))
    # What it was before there was the key.
    (key,) = (name for name in all_keys() if name.endswith("must_end"))
    assert values[key] is False and values["topk"] == 7


def test_folders_and_damaged_logs(log: Path) -> None:
    other = log.with_name("other_20260102-030405.json")
    other.write_text(log.read_text())
    with pytest.raises(InputError, match=r"holds 2 logs; name the log of a run, such as '.*json'"):
        config_of(str(log.parent))
    other.write_text(log.read_text().replace('"format": 2', '"format": 9'))
    with pytest.raises(InputError, match="has format 9 and this version reads 2"):
        config_of(str(other))
    other.write_text(log.read_text().replace('"n_steps": 3', '"n_steps": -3'))
    with pytest.raises(InputError, match=r"of log '.*', n_steps: -3 is too small"):
        config_of(str(other))


YAML = """
resume: no            # a text, although YAML takes it for a truth value
stop.max_seconds: 1e3
greater:
  topk: 12
  anneal: yes
keep: [step by step, JSON]
devices: cpu
chat_template_kwargs: {date: 2024-01-01, think: false}
"""


def test_yaml_has_flat_dotted_and_grouped_keys(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(YAML)
    values = values_of(get_config(str(path)))
    expected = {
        "resume": "no",
        "max_seconds": 1000.0,
        "topk": 12,
        "anneal": True,
        "keep": ("step by step", "JSON"),
        "devices": ("cpu",),
        "chat_template_kwargs": {"date": "2024-01-01", "think": False},
        "n_steps": 105,
    }
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nn_step: 3", "line 2 of config file '.*': the key 'n_step' is unknown; .* 'n_steps'"),
        ("greater: {topkk: 3}", "the key 'greater.topkk' is unknown; did you mean 'greater.topk'"),
        ("n_steps: many", "line 1 .* n_steps: 'many' is not a whole number; give one"),
        ("max_seconds: soon", "'soon' is not a number; give one"),
        ("dtype: float33", "'float33' is unknown; choose one of auto, float32"),
        ("topk: 3\ngreater: {topk: 4}", "line 2 .* 'greater.topk' is set in line 1, too; leave"),
        ("n_steps:", "n_steps: there is no value; give one, or leave the key out"),
        ("model: foo", "'model' is a group; write its keys below it, such as model_paths"),
        ("data: my.csv", "the key 'data' is unknown; the flag --data sets train_data"),
        ("train_data: {a: 1}", "is not a text; give one"),
        ("seed: !!python/name:os.system", "seed: '' cannot be read; give a plain value"),
        ("seed: !mine 3", "the tag '!mine' is not read; leave it out"),
        ("a: &x 3\nb: *x", "line 2 .* aliases are not read"),
        ("seed: 3\n\tx: 3", r"line 2 of config file '.*' is not YAML \(found character"),
        ("? [seed]\n: 3", "a key is no text; write KEY: VALUE"),
        ("- seed", "holds no keys; write them as KEY: VALUE"),
        ("", "holds no keys"),
        ("\x00", "is not YAML"),
        ("[" * 3000, "is nested too deeply"),
        (None, r"cannot be read \(No such file or directory\); give an existing one"),
    ],
)
def test_wrong_yaml(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        config_of(str(path))
