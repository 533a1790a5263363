"""Kinds of files: the same rows come out of all that are read, and the others are named."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompt_optimization.errors import InputError
from prompt_optimization.tasks.examples import Example, read_rows, read_table

Pairs = list[tuple[str, str]]


def separated(separator: str, end: str = "\n") -> Callable[[Pairs], str]:
    def written(pairs: Pairs) -> str:
        file = io.StringIO(newline="")
        writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerows([("question", "answer"), *pairs])
        return file.getvalue()

    return written


def objects(pairs: Pairs) -> list[dict[str, str]]:
    return [{"question": question, "answer": answer} for question, answer in pairs]


def json_lines(end: str) -> Callable[[Pairs], str]:
    return lambda pairs: end.join(json.dumps(o, ensure_ascii=False) for o in objects(pairs)) + end


def document(name: str) -> Callable[[Pairs], str]:
    return lambda pairs: json.dumps({"version": 1, name: objects(pairs)}, indent=1)


WRITERS: dict[str, tuple[str, Callable[[Pairs], str]]] = {
    "csv": ("a.csv", separated(",")),
    "csv in json": ("a.json", separated(",")),
    "csv with cr": ("a.csv", separated(",", "\r")),
    "csv with crlf": ("a.csv", separated(",", "\r\n")),
    "semicolons": ("a.csv", separated(";")),
    "bars": ("a.txt", separated("|")),
    "tsv": ("a.tsv", separated("\t")),
    "tabs in csv": ("a.csv", separated("\t")),
    "commas in tsv": ("a.TSV", separated(",")),
    "jsonl": ("a.jsonl", json_lines("\n")),
    "jsonl with cr": ("a.jsonl", json_lines("\r")),
    "jsonl with blank lines": ("a.jsonl", json_lines("\r\n \r\n")),
    "JSONL": ("a.JSONL", json_lines("\n")),
    "ndjson": ("a.ndjson", json_lines("\n")),
    "json lines in json": ("a.json", json_lines("\n")),
    "json lines without a name": ("a", json_lines("\n")),
    "list": ("a.json", lambda pairs: json.dumps(objects(pairs))),
    "list in jsonl": ("a.jsonl", lambda pairs: json.dumps(objects(pairs), indent=1)),
    "examples": ("a.json", document("examples")),
    "data": ("a.json", document("data")),
    "rows": ("a.json", document("rows")),
    "another name": ("a.json", document("questions")),
    "wrapped rows": (
        "a.json",
        lambda pairs: json.dumps({"features": [{}], "rows": [{"row": o} for o in objects(pairs)]}),
    ),
}
PACKED: list[Callable[[str], bytes]] = [
    lambda text: text.encode("utf-8-sig"),
    lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    lambda text: text.encode("utf-32"),
    lambda text: gzip.compress(text.encode(), mtime=0),
]

cells = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
).filter(lambda text: text.strip() != "")


@given(pairs=st.lists(st.tuples(cells, cells | st.sampled_from(["12.0", "(A)", "3"])), min_size=1))
def test_a_table_reads_the_same_in_every_kind_of_file(pairs: Pairs) -> None:
    kinds = [(name, written(pairs).encode()) for name, written in WRITERS.values()]
    for name, written in (WRITERS["csv"], WRITERS["jsonl"], WRITERS["data"]):
        kinds += [(f"packed-{name}", packed(written(pairs))) for packed in PACKED]
    found = set()
    with tempfile.TemporaryDirectory() as folder:
        for name, raw in kinds:
            path = Path(folder) / name
            path.write_bytes(raw)
            assert read_rows(path)[0] == objects(pairs), (name, raw)
            try:
                found.add(read_table(path).examples)
            except InputError as error:
                found.add(error.problem.replace(str(path), "it"))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "question,answer\nWhy?,(A)\n"),
        ("a.csv", 'question, answer\nWhy?, "(A)"\n'),
        ("a.csv", "\n\nquestion,answer,\n\nWhy?,(A),\n,,\n \n"),
        ("a.jsonl", '{"question": "Why?", "answer": "A", "id": 3}\n\n'),
        ("a.json", '{"question": "Why?", "answer": "A"}'),
        ("a.json", '{"examples": [{"input": "Why?", "target": "(A)"}]}'),
        ("a.json", "\ufeffgoal,final_target\r\nWhy?,A\r\n"),
        ("a.json", '{"instruction": "Say why.", "examples": [{"input": "Why?", "target": "A"}]}'),
        ("a.csv", "sep=;\r\nquestion;answer\r\nWhy?;A\r\n"),
        ("a.csv", '"question";"answer, in short";"answer"\n"Why?";"B";"A"\n'),
    ],
)
def test_other_forms(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_table(tmp_path / name).examples == (Example("Why?", "A", 0),)


def test_long_cells(tmp_path: Path) -> None:
    long = "word " * 40_000
    path = tmp_path / "a.csv"
    path.write_text(f'question,answer\n"{long}",A\n')
    limit = csv.field_size_limit()
    assert read_table(path).examples == (Example(long.strip(), "A", 0),)
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.json", b'goal,final_target\n"Why?,A\n', "malformed near line"),
        (
            "a.json",
            b"goal,final_target\nWhy,me?,A\n",
            "row 0 .* 3 cells under a header of 2",
        ),
        ("a.json", b'{"examples": 3}', "no list of examples"),
        ("a.json", b'{"train": [{}], "test": [{}]}', "no list of examples"),
        ("a.json", b"[[1, 2]]", "no list of examples"),
        ("a.json", b"[]", "holds no rows"),
        ("a.json", b'{"examples": [', "starts like JSON but is not .line 1"),
        ("a.json", b'{"question": {"0": "Why?"}, "answer": {"0": "A"}}', "orient='records'"),
        ("a.jsonl", b'{"question": "Why?"}\n{"quest', "line 2 of .* is not JSON"),
        ("a.json", b'{"question": "Why?", "answer": "A"}\n\n{"quest', "line 3 of .* is not JSON"),
        ("a.jsonl", b"3\n", "line 1 of .* is not a JSON object"),
        ("a.jsonl", b'{"question": "a?", "answer": ' + b"[" * 100_000, "nested too deeply"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.parquet", b"PAR1\x15\x04", "is a Parquet file that cannot be read"),
        ("a.arrow", b"ARROW1\0\0", "is an Arrow file; export it as JSON lines"),
        ("a.xlsx", b"PK\x03\x04\x14", "Excel workbook or a ZIP archive; save the sheet as CSV"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1", "old Excel workbook; save the sheet as CSV"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd", "Zstandard; unpack it"),
        ("a.jsonl.gz", gzip.compress(b"PAR1\x15\x04", mtime=0), "is a Parquet file"),
        ("a.jsonl.gz", gzip.compress(b"question,answer", mtime=0)[:-9], "gzipped but damaged"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.csv", b"<!doctype html>\n", "a web page or XML; download the data itself"),
        ("a.json", b"goal,final_target\n\xff\xfe,A\n", r"not UTF-8 text \(byte 18\); save it as"),
        ("a.csv", codecs.BOM_UTF16_LE + b"\x00\xd8", "not UTF-16 text"),
        ("a.csv", "question,answer\na?,1".encode("utf-16-le"), "NUL characters in its first line"),
    ],
)
def test_refused(tmp_path: Path, name: str, raw: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(InputError, match=message) as caught:
        read_table(tmp_path / name)
    assert name in caught.value.problem and "\n" not in caught.value.problem


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; give an existing file"):
        read_table(tmp_path / "none.json")
    with pytest.raises(InputError, match="does not exist"):
        read_table("~nobody-of-this-name/none.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path)


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.csv", tmp_path / "a.csv.gz"
    plain.write_text("question,answer\na?,1\n")
    packed.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    assert read_table(plain).sha256 != read_table(packed).sha256
    assert read_table(plain).examples == read_table(packed).examples


def test_a_parquet_file_is_read(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"Text": ["Is it 1?", "Is it 2?"], "label": [1, 2], "other": [None, 3]})
    parquet.write_table(table, tmp_path / "task.parquet")
    found = read_table(tmp_path / "task.parquet")
    assert [(each.question, each.answer) for each in found.examples] == [
        ("Is it 1?", "1"),
        ("Is it 2?", "2"),
    ]
    # The columns have no usual names, so what they were taken for is said.
    assert [note.partition(" is read as the ")[2][:8] for note in found.notes] == [
        "question",
        "answer; ",
    ]
    parquet.write_table(table.slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="holds no rows"):
        read_table(tmp_path / "empty.parquet")
    days = arrow.array([2**31 - 1], arrow.int32()).cast(arrow.date32())
    parquet.write_table(arrow.table({"question": ["When?"], "answer": days}), tmp_path / "d")
    with pytest.raises(InputError, match=r"is a Parquet file that cannot be read \(days="):
        read_table(tmp_path / "d")
