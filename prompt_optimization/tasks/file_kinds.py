"""The rows of a file, whatever kind of table it is.

Kinds are known by their content, because names say little: the published GReaTer files are CSV
tables that carry the ending ``.json``. Read are values with a separator, JSON lines, JSON documents
and SPO's YAML templates, in UTF-8 or with a byte order mark in UTF-16 and UTF-32, as they are or
gzipped.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import re
import zlib
from importlib import import_module
from pathlib import Path

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.paths import data_folder
from prompt_optimization.tasks.columns import ANSWER_COLUMNS, QUESTION_COLUMNS, column_name, row_of
from prompt_optimization.tasks.generate import TASKS
from prompt_optimization.tasks.json_rows import json_rows
from prompt_optimization.tasks.qa_template import ENDINGS, read_template

JSON_LINES = (".jsonl", ".ndjson")
SEPARATORS = (",", ";", "\t", "|")

PARQUET = b"PAR1"
_EXPORT = (
    "export it as JSON lines, for instance with pandas: .to_json('task.jsonl', orient='records', "
    "lines=True)"
)
# How files begin that are not text, what they are, and what can be done.
_OTHER_KINDS = (
    (PARQUET, "a Parquet file", "unpack it"),
    (b"ARROW1", "an Arrow file", _EXPORT),
    (b"PK\x03\x04", "an Excel workbook or a ZIP archive", "save the sheet as CSV, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV"),
    (b"BZh", "compressed with bzip2", "unpack it, or compress it with gzip"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it, or compress it with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "unpack it, or compress it with gzip"),
    (b"version https://git-lfs", "a pointer to a file", "fetch the file with 'git lfs pull'"),
    (b"<", "a web page or XML", "download the data itself, as CSV or JSON"),
)
# The longer marks first, because that of UTF-32 begins like that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "UTF-8", "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "UTF-32", "utf-32"),
    (codecs.BOM_UTF32_BE, "UTF-32", "utf-32"),
    (codecs.BOM_UTF16_LE, "UTF-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "UTF-16", "utf-16"),
)


def read_rows(path: Path) -> tuple[list[dict[str, object]], str]:
    """The rows of a file, cell by name of the column, and the sha256 of its bytes.

    Blank lines are passed over. Names come in lower case and without spaces around them.

    Raises:
        InputError: the file is missing, unreadable, empty, malformed or of an unknown kind.
    """
    raw = _bytes(path)
    rows = _parquet_rows(path, raw) if raw.startswith(PARQUET) else _text_rows(path, raw)
    if not rows:
        raise InputError(f"data file '{path}' holds no rows; give a file with at least one")
    return rows, hashlib.sha256(raw).hexdigest()


def _text_rows(path: Path, raw: bytes) -> list[dict[str, object]]:
    text = _text(path, _unpacked(path, raw))
    ending = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
    lines = ending.lower() in JSON_LINES
    if ending.lower() in ENDINGS:
        return [dict(row) for row in read_template(path, text).rows]
    if lines or text.lstrip()[:1] in ("{", "["):
        return json_rows(path, text, lines)
    return _separated_values(path, text, "\t" if ending.lower() == ".tsv" else ",")


def _parquet_rows(path: Path, raw: bytes) -> list[dict[str, object]]:
    require_package(f"data file '{path}', a Parquet file,", "parquet", "pyarrow")
    try:
        rows = import_module("pyarrow.parquet").read_table(io.BytesIO(raw)).to_pylist()
    # Damaged pages, a damaged footer, a date beyond Python's, and what pyarrow does not read.
    except (OSError, ValueError, OverflowError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"data file '{path}' is a Parquet file that cannot be read ({reason}); {_EXPORT}"
        ) from None
    return [row_of(row.items()) for row in rows]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"data file '{path}' does not exist; give an existing file{_generated(path)}"
        ) from None
    except OSError as error:
        raise InputError(
            f"data file '{path}' cannot be read ({error.strerror}); give a readable file"
        ) from None


def _generated(path: Path) -> str:
    """How to make the missing file, where it is one that we can generate."""
    if path.resolve().parent != (data_folder() / "BBH").resolve() or path.stem not in TASKS:
        return ""
    return ", or write the generated ones with 'greater generate-data'"


def _unpacked(path: Path, raw: bytes) -> bytes:
    if raw.startswith(b"\x1f\x8b"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"data file '{path}' is gzipped but damaged ({error}); copy it again"
            ) from None
    for start, kind, fix in _OTHER_KINDS:
        if raw.startswith(start):
            raise InputError(f"data file '{path}' is {kind}; {fix}")
    return raw


def _text(path: Path, raw: bytes) -> str:
    name, codec = next(
        ((name, codec) for mark, name, codec in _BYTE_ORDER_MARKS if raw.startswith(mark)),
        ("UTF-8", "utf-8"),
    )
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError as error:
        raise InputError(
            f"data file '{path}' is not {name} text (byte {error.start}); save it as UTF-8"
        ) from None
    if "\0" in text.split("\n", 1)[0]:
        raise InputError(
            f"data file '{path}' holds NUL characters in its first line, as UTF-16 does; save it "
            "as UTF-8"
        )
    return text


def _separated_values(path: Path, text: str, usual: str) -> list[dict[str, object]]:
    """The rows of a table, whose header shows how it is written."""
    # Excel may say the separator in a line before the header.
    text = re.sub(r"\Asep=.\r?\n", "", text)
    # The module refuses cells above 131,072 characters unless it is told otherwise.
    limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    try:
        separator = max((usual, *SEPARATORS), key=lambda each: len(_known_names(text, each)))
        # Where spaces follow the separators, quotes come after the spaces.
        spaced = any(name.startswith(" ") for name in _header(text, separator)[1:])
        # strict=True makes a quote that is never closed an error instead of a giant last cell.
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=separator,
            skipinitialspace=spaced,
            strict=True,
        )
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise InputError(
            f"'{path}' is malformed near line {reader.line_num} ({error}); check its quotes"
        ) from None
    finally:
        csv.field_size_limit(limit)
    header, *body = lines or [[]]
    for number, line in enumerate(body):
        if len(line) != len(header):
            raise InputError(
                f"row {number} of '{path}' has {len(line)} cells under a header of {len(header)}; "
                "quote cells that contain the separator"
            )
    return [row_of(zip(header, line, strict=True)) for line in body]


def _known_names(text: str, separator: str) -> set[str]:
    known = {*QUESTION_COLUMNS, *ANSWER_COLUMNS}
    return known & set(map(column_name, _header(text, separator)))


def _header(text: str, separator: str) -> list[str]:
    """The first line that is not blank, as one of a table with that separator."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return next((line for line in reader if any(cell.strip() for cell in line)), [])
    except csv.Error:
        return []  # it has another separator, or reading all of it names the line
