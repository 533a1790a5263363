"""The report: figures that can be worked out by hand, and files that other programs can read."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from prompt_optimization.configs.template import get_config
from prompt_optimization.errors import InputError
from prompt_optimization.models.layout import Layout
from prompt_optimization.optimizers.greater.figures import note, points
from prompt_optimization.report.facts import steps
from prompt_optimization.report.measured import (
    Measurement,
    Results,
    disambiguate,
    read_results,
    task_label,
)
from prompt_optimization.report.published import BENCHMARKS, TABLE_1, TABLE_3, model_name
from prompt_optimization.report.render import FORMATS, shown
from prompt_optimization.report.table_facts import table_facts
from prompt_optimization.report.tables import (
    all_tables,
    per_task,
    significance,
    table_1,
    table_3,
)
from prompt_optimization.runs.config import plan, values_of
from prompt_optimization.runs.naming import DEFAULT_PROMPT, search_variant, start_variant
from prompt_optimization.tasks.registry import TABLE_1_BBH
from tests.runs.harness import carry_out

ROOT = Path(__file__).resolve().parents[2]
LLAMA, GEMMA = "Llama-3-8B", "Gemma-2-9B"


def measured(task: str, method: str, hits: str, **other: Any) -> Measurement:
    model = other.pop("model", LLAMA)
    by = other.pop("optimised_by", model if method == "greater" else "")
    rows = {row: hit == "1" for row, hit in enumerate(hits)}
    return Measurement(task, model, method, rows, optimised_by=by, **other)


def line(data: pd.DataFrame, **keys: str) -> dict[str, Any]:
    for key, value in keys.items():
        data = data[data[key.replace("_", " ")] == value]
    (found,) = data.to_dict("records")
    return found


def test_table_1_is_a_mean_over_tasks() -> None:
    bbh = [measured(task, "greater", "1110" if place else "0000")
           for place, task in enumerate(TABLE_1_BBH)]  # fmt: skip
    whole = table_1([*bbh, measured("gsm8k", "greater", "1" * 9 + "0")])
    found = line(whole.data, model=LLAMA, method="GReaTer", benchmark="BBH")
    assert found["measured"] == pytest.approx(100 * 0.75 * 20 / 21)
    assert found["published"] == 68.7 and found["n"] == 84
    assert found["difference"] == pytest.approx(found["measured"] - 68.7)
    gsm8k = line(whole.data, model=LLAMA, method="GReaTer", benchmark="GSM8K")
    assert (gsm8k["measured"], gsm8k["published"]) == (90.0, 82.6)
    folio = line(whole.data, model=LLAMA, method="GReaTer", benchmark="FOLIO")
    assert pd.isna(folio["measured"]) and folio["published"] == 62.6
    assert whole.note.endswith(f"{len(TABLE_1) - 2} of {len(TABLE_1)} cells are not measured.")

    partly = line(table_1(bbh[1:]).data, model=LLAMA, method="GReaTer", benchmark="BBH")
    assert partly["measured"] == 75.0 and pd.isna(partly["difference"]), "20 tasks are not 21"


def test_every_method_that_was_run_has_its_row_of_table_1() -> None:
    found = table_1(
        [measured("gsm8k", name, "10", optimised_by=LLAMA) for name in ("ape", "random")]
    ).data
    ape = line(found, model=LLAMA, method="APE", benchmark="GSM8K")
    assert (ape["measured"], ape["published"]) == (50.0, 79.9)
    assert line(found, model=LLAMA, method="random", benchmark="GSM8K")["measured"] == 50.0


def test_only_the_method_as_it_is_stands_in_table_1() -> None:
    others = [
        measured("gsm8k", "greater", "1", variant="random shortlist"),
        measured("gsm8k", "greater", "1", variant="misleading initial prompt"),
        measured("gsm8k", "greater", "1", optimised_by=GEMMA),
    ]
    assert table_1(others).data["measured"].isna().all()


def test_nothing_right_is_a_measurement() -> None:
    found = line(table_1([measured("gsm8k", "greater", "000", model="m")]).data,
                 model="m", benchmark="GSM8K")  # fmt: skip
    assert found["measured"] == 0.0


def test_what_was_not_done_alike_is_not_averaged() -> None:
    apart = disambiguate(
        [
            measured("a", "greater", "11", settings={"n_steps": "105", "topk": "10"}),
            measured("a", "greater", "00", settings={"n_steps": "1", "topk": "10"}),
            measured("a", "initial", "01", settings={}),
        ]
    )
    assert [m.variant for m in apart] == ["n_steps=105", "n_steps=1", ""]
    titles = set(per_task(apart).data["prompt"])
    assert titles == {"GReaTer (n_steps=105)", "GReaTer (n_steps=1)", "initial prompt"}
    texts = [measured("a", "prompt", "11", prompt=" x"), measured("a", "prompt", "00", prompt=" y")]
    assert list(per_task(texts).data["measured"]) == [100.0, 0.0]


def test_pairs_were_read_alike() -> None:
    short, long = ({"max_new_tokens": n} for n in ("8", "1024"))
    found = [
        measured("a", "initial", "00", reading=short),
        measured("a", "greater", "11", reading=long),
    ]
    assert significance(found).data.empty


@pytest.mark.parametrize("name, comparable", [("extractor", True), ("chat_template", False)])
def test_a_mean_over_tasks_needs_them_read_alike(name: str, comparable: bool) -> None:
    usual = {"chat_template": "a", "extractor": "b"}
    found = [
        measured(task, method, hits, reading=usual | ({name: "c"} if place == 20 else {}))
        for place, task in enumerate(TABLE_1_BBH)
        for method, hits in (("initial", "00"), ("greater", "11"))
    ]
    bbh = line(table_1(found).data, model=LLAMA, method="GReaTer", benchmark="BBH")
    assert bbh["tasks"] == ("21 of 21" if comparable else "0 of 21")
    assert bbh["measured"] == 100.0 if comparable else pd.isna(bbh["measured"])
    tasks = set(significance(found).data["task"])
    assert tasks == {*TABLE_1_BBH, *(["mean of 21 tasks"] if comparable else [])}


def test_methods_are_compared_as_they_are() -> None:
    found = [
        measured("a", "greater", "0011"),
        measured("a", "greater", "0111", variant="random shortlist"),
        measured("a", "ape", "0001", optimised_by=LLAMA),
        measured("a", "zebra", "1111", optimised_by=LLAMA),
    ]
    compared = significance(found).data
    assert {tuple(pair) for pair in compared[["from", "to"]].itertuples(index=False)} == {
        ("APE", "GReaTer"), ("APE", "zebra"), ("GReaTer", "zebra"),
        ("GReaTer (random shortlist)", "GReaTer"),
    }  # fmt: skip


def test_every_task_counts_alike_among_several() -> None:
    many = [measured("a", "initial", "0" * 10), measured("a", "greater", "1" * 10)]
    one = [measured("b", "initial", "1"), measured("b", "greater", "0")]
    found = line(significance([*many, *one]).data, task="mean of 2 tasks")
    assert found["difference"] == pytest.approx(0.0)


def test_rows_of_several_runs_count_once() -> None:
    some = measured("a", "greater", "11111", run="x")
    every = measured("a", "greater", "0000000000", run="y")
    found = line(per_task([some, every]).data, task="a")
    assert found["measured"] == pytest.approx(25.0) and found["n"] == 10


def test_data_that_only_have_the_name_are_marked() -> None:
    table = {"official": True, "sha256": "abcdef99"}
    assert task_label("x/navigate.json", {"train": table}) == "navigate"
    generated = {"train": table | {"official": False}}
    assert task_label("x/navigate.json", generated) == "navigate (data abcdef)"
    with_test = generated | {"test": table | {"sha256": "123456ff"}}
    assert task_label("x/navigate.json", with_test) == "navigate (data abcdef 123456)"
    assert task_label("x/mine.json", {"train": table}) == "mine (data abcdef)"


def test_transfer_stands_beside_the_paper() -> None:
    moved = [
        measured("hyperbaton", "greater", "10", optimised_by=GEMMA),
        measured("hyperbaton", "greater", "11", optimised_by="other-model"),
        measured("hyperbaton", "greater", "00"),
    ]
    data = table_3(moved).data
    found = line(data, target=LLAMA, method="GReaTer", optimised_by=GEMMA, task="hyperbaton")
    assert (found["measured"], found["published"], found["difference"]) == (50.0, 70, -20.0)
    mean = line(data, target=LLAMA, method="GReaTer", optimised_by=GEMMA, task="mean")
    assert pd.isna(mean["measured"]) and mean["published"] == pytest.approx(64.6)
    new = line(data, target=LLAMA, optimised_by="other-model", task="mean")
    assert new["measured"] == 100.0
    assert len({tuple(key) for key in TABLE_3}) == 10


def test_differences_are_paired_and_rows_count_once() -> None:
    before = [measured("a", "initial", "0011")]
    after = [measured("a", "greater", "0111", run="x"), measured("a", "greater", "1111", run="y")]
    found = line(significance([*before, *after]).data, task="a")
    assert found["rows"] == 4 and found["difference"] == pytest.approx(37.5)
    # Another split's rows are nobody's pair.
    assert significance([measured("a", "initial", "00111"), *after]).data.empty


def test_every_difference_names_what_was_compared() -> None:
    found = [
        replace(measured(task, method, hits), variant=variant)
        for task, variant in (("a", "extractor=x"), ("b", "extractor=y"))
        for method, hits in (("initial", "0011"), ("greater", "0111"))
    ]
    found = [replace(m, variant="") if m.method == "greater" else m for m in found]
    lines = significance(found).data.set_index("task")["from"]
    assert lines["a"] == "initial prompt (extractor=x)"
    assert lines["b"] == "initial prompt (extractor=y)"
    assert lines["mean of 2 tasks"] == f"{lines['a']} or {lines['b']}"


def test_our_names_for_models_and_variants() -> None:
    assert model_name("meta-llama/Meta-Llama-3-8B-Instruct") == LLAMA
    assert model_name("/models/gemma-2-9b-it/") == GEMMA
    assert model_name("google/gemma-2-9b") == "gemma-2-9b", "not the instruction-tuned one"
    assert model_name("/llama-3-8b-instruct/other") == "other"
    assert model_name("/models/Llama-3.2-1B-Instruct") == "Llama-3.2-1B-Instruct"
    config = get_config()
    config.train_data, config.extractor_text = "rows.csv", " The answer is"
    params = plan(values_of(config)).params
    assert Layout.normalise(params["control_init"]) == DEFAULT_PROMPT
    assert search_variant(params) == "" == start_variant(params["control_init"])
    assert start_variant("no thinking just feeling. ") == "misleading initial prompt"
    assert {benchmark for _, _, benchmark in TABLE_1} == set(BENCHMARKS)


@pytest.fixture(scope="module")
def folder(small_run: dict[str, Any], tmp_path_factory: Any) -> Path:
    """Two searches on one task, one of them an ablation, and one that has not finished."""
    made: Path = tmp_path_factory.mktemp("results")
    flags = small_run | {
        "n_dev_data": 0,
        "n_test_data": 10,
        "n_steps": 3,
        "max_new_tokens": 6,
    }
    carry_out(flags | {"result_prefix": made / "a"})
    other = carry_out(flags | {"shortlist": "random", "result_prefix": made / "deep" / "b"})
    (made / "c_20260101-000000.json").write_text(json.dumps(other.data | {"status": "running"}))
    (made / "broken.json").write_text("{")
    (made / "notes.json").write_text("[]")
    return made


def test_a_folder_of_logs(folder: Path) -> None:
    results = read_results(folder)
    assert len(results.runs) == 2 and len(results.left_out) == 2
    assert any("running" in reason for reason in results.left_out)
    methods = [m.method for m in results.measurements]
    assert methods == ["initial", "greater", "initial", "greater"]
    titles = {table.title: table for table in all_tables(results)}
    searches = titles["Searches and their ablations"].data
    assert list(searches["search"]) == ["GReaTer", "GReaTer (random shortlist)"]
    assert set(titles["Differences on the same rows"].data["to"]) == {
        "GReaTer", "GReaTer (random shortlist)",
    }  # fmt: skip


def test_other_programs_can_read_it(folder: Path) -> None:
    tables = all_tables(read_results(folder))
    together = pd.read_csv(io.StringIO(FORMATS["csv"](tables)))
    assert set(together["table"]) == {table.title for table in tables}
    assert together["published"].notna().sum() == len(TABLE_1) + 6 * len(TABLE_3)
    markdown = FORMATS["md"](tables)
    for table in tables:
        assert f"## {table.title}" in markdown
        widths = {row.count("|") for row in markdown.split(f"## {table.title}")[1]
                  .split("\n## ")[0].splitlines() if row.startswith("|")}  # fmt: skip
        assert widths == {len(shown(table).columns) + 1}
    latex = FORMATS["latex"](tables)
    assert latex.count(r"\begin{longtable}") == latex.count(r"\end{longtable}") == len(tables)


def test_figures_hold_what_the_log_does(folder: Path) -> None:
    log = next(iter(read_results(folder).runs.values()))
    found = points([log])
    tried = [c for step in log["steps"] for c in step["shortlist"]]
    assert [gradient for gradient, _ in found] == [c["gradient"] for c in tried]
    first = log["steps"][0]["shortlist"][0]
    assert found[0][1] == first["objective"] - log["initial"]["objective"]
    assert f"over {len(tried)} candidates" in note(found)
    assert note(found[:1]) == ""
    shown_steps = steps(log)
    assert [each["objective"] for step in shown_steps for each in step["tried"]] == [
        tried["objective"] for step in log["steps"] for tried in step["tried"]
    ]
    assert [step["objective"] for step in shown_steps] == log["losses"]


def test_published_tables_need_a_cell_of_theirs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["Accuracy by task", "Searches and their ablations", "Differences on the same rows"]
    found = table_facts(folder)
    assert [table["title"] for table in found["tables"]] == own
    assert len(found["figures"]) == 1 and len(found["left_out"]) == 2
    some = Results(measurements=[measured("folio", "greater", "11", optimised_by=LLAMA)])
    monkeypatch.setattr("prompt_optimization.report.measured.read_results", lambda *_: some)
    titles = [table["title"].partition(":")[0] for table in table_facts(folder)["tables"]]
    assert titles[-1] == "Table 1" and "Table 3" not in titles


def test_the_command(folder: Path, tmp_path: Path) -> None:
    def report(*arguments: Any) -> Any:
        command = [sys.executable, "scripts/report.py", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    done = report(folder, "--format", "html", "--out", tmp_path / "x.html")
    assert done.returncode == 0 and (tmp_path / "x.html").stat().st_size > 50_000
    assert done.stderr.count("left out of the tables:") == 2
    for missing in (tmp_path / "none", tmp_path):
        failed = report(missing)
        assert failed.returncode == 2 and failed.stderr.startswith("error: folder")


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run"):
        read_results(tmp_path)
    empty = all_tables(Results())
    assert "not measured" in empty[0].note and empty[1].data.empty
    assert "Nothing measured yet" in FORMATS["md"](empty)
