"""The authors' own data: fetched from where they publish it, checked, converted.

Everything is written below one folder, in the columns of the published GReaTer format:
``BBH/<task>.json``, ``GSM8K/gsm8k_train.json``, ``FOLIO/folio_test.json`` and so on, which are CSV
inside. What the authors of GPO published is written as JSON lines, because an answer may be a list
of texts: ``MMLU/mmlu_anatomy_train.jsonl``, ``WSC/wsc_dev.jsonl`` and so on. Rows keep their number
and order, cells their text.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from typing import Any

from prompt_optimization.errors import InputError
from prompt_optimization.files import unwritable, write_whole

_GPO = (
    "https://raw.githubusercontent.com/RUCAIBox/GPO/765df208a3856797cf66491a4a9fc56264a67495/data"
)
SOURCES = {
    "bbh": "https://raw.githubusercontent.com/suzgunm/BIG-Bench-Hard/main/bbh",
    "gsm8k": "https://raw.githubusercontent.com/openai/grade-school-math/master/"
    "grade_school_math/data",
    "folio": "https://raw.githubusercontent.com/Yale-LILY/FOLIO/main/data/v0.0",
    "gpo_bbh": f"{_GPO}/BIG-Bench-Hard",
    "gpo_gsm8k": f"{_GPO}/reasoning/GSM8K",
    "mmlu": f"{_GPO}/MMLU",
    "webnlg": f"{_GPO}/common-nlp/WebNLG",
    "wsc": f"{_GPO}/common-nlp/WSC",
}
# GPO's files by our words: the three splits, and rows that are shown, not asked.
_GPO_FILES = {
    "train": "train",
    "eval": "dev",
    "test": "test",
    "format": "format",
    "few_shot_examples": "few_shot",
}
# Lies beside the converted files and holds the hash of each.
MANIFEST = "MANIFEST.tsv"
HEADER = ("goal", "target", "final_target")
# In the table of files.
UNKNOWN = "-"
ATTEMPTS = 4
BLOCK = 64 * 1024

Row = tuple[str, object, object]
Report = Callable[[str], None]


@dataclass(frozen=True)
class OfficialFile:
    """A published file.

    Attributes:
        path: ``<benchmark>/<name>`` or ``<benchmark>/<task>/<name>``, as in mirrors.
        sha256: empty where it is not known; the source is then pinned to a commit, and what a
            mirror holds is taken as it is.
        bytes: 0 where ``sha256`` is empty.
    """

    path: str
    sha256: str
    bytes: int
    rows: int

    @property
    def benchmark(self) -> str:
        return self.path.split("/")[0]

    @property
    def url(self) -> str:
        return f"{SOURCES[self.benchmark]}/{self.path.split('/', 1)[1]}"

    @property
    def of_gpo(self) -> bool:
        """Whether the authors of GPO published it."""
        return SOURCES[self.benchmark].startswith(_GPO)

    @property
    def target(self) -> str:
        """Where the converted file goes, below the output folder."""
        stem = Path(self.path).stem
        if self.of_gpo:
            task = "_".join(self.path.split("/")[:-1])
            return f"{self.benchmark.upper()}/{task}_{_GPO_FILES[stem]}.jsonl"
        if self.benchmark == "bbh":
            return f"BBH/{stem}.json"
        split = {"folio-validation": "folio_test", "folio-train": "folio_train"}
        name = split.get(stem, f"{self.benchmark}_{stem}")
        return f"{self.benchmark.upper()}/{name}.json"


def official_files(benchmarks: Sequence[str]) -> list[OfficialFile]:
    """Every published file of ``benchmarks``, with the hash it must have where that is known."""
    table = files("prompt_optimization.tasks").joinpath("official.tsv").read_text(encoding="utf-8")
    _, *lines = table.splitlines()
    found = []
    for line in lines:
        path, sha256, size, rows = line.split("\t")
        if sha256 == UNKNOWN:
            sha256, size = "", "0"
        found.append(OfficialFile(path, sha256, int(size), int(rows)))
    return [file for file in found if file.benchmark in benchmarks]


def fetch(
    file: OfficialFile, out: Path, mirror: str | None, report: Report, wait: float = 1.0
) -> Path:
    """Download ``file``, check it and write it converted below ``out``.

    Args:
        mirror: a folder, or the URL of one, that holds the published files as ``file.path``.
        report: told of every retry.
        wait: seconds before the first retry; each further one waits twice as long.

    Raises:
        InputError: it cannot be had, or is not the published file.
    """
    target = out / file.target
    if mirror and "://" not in mirror:
        raw = _read_local(Path(mirror).expanduser() / file.path)
    else:
        url = f"{mirror.rstrip('/')}/{file.path}" if mirror else file.url
        part = out / ".part" / file.path.replace("/", "-")
        raw = _download(url, file, part, report, wait)
    found = hashlib.sha256(raw).hexdigest()
    if file.sha256 and found != file.sha256:
        raise InputError(
            f"'{mirror or file.url}' gives another file than the authors published as "
            f"'{file.path}' (sha256 {found[:12]}..., expected {file.sha256[:12]}...); use another "
            "--mirror"
        )
    converted = convert(file, raw)
    write_whole(target, converted, "out")
    known = _read_manifest(out) | {file.target: hashlib.sha256(converted).hexdigest()}
    lines = "".join(f"{name}\t{sha256}\n" for name, sha256 in sorted(known.items()))
    write_whole(out / MANIFEST, lines.encode(), "out")
    return target


def is_official(path: Path, sha256: str) -> bool:
    """Whether the file at ``path``, which has this hash, is as ``fetch`` has written it."""
    folder = path.resolve().parent
    return _read_manifest(folder.parent).get(f"{folder.name}/{path.name}") == sha256


def is_fetched(file: OfficialFile, out: Path) -> bool:
    """Whether ``file`` is in ``out`` already, unchanged."""
    target = out / file.target
    return target.is_file() and is_official(target, hashlib.sha256(target.read_bytes()).hexdigest())


def _read_manifest(out: Path) -> dict[str, str]:
    """Hashes of what ``fetch`` has written below ``out``, by name."""
    try:
        lines = (out / MANIFEST).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def convert(file: OfficialFile, raw: bytes) -> bytes:
    """The published file in the columns of the GReaTer format.

    Raises:
        InputError: it is not what the authors published: it cannot be read, or has another number
            of rows.
    """
    try:
        rows = _rows(file, raw.decode("utf-8"))
    except (ValueError, LookupError, TypeError):
        raise InputError(
            f"'{file.path}' is not in the form that the authors published; use another --mirror"
        ) from None
    if len(rows) != file.rows:
        raise InputError(f"'{file.path}' has {len(rows)} rows, expected {file.rows}")
    written = io.StringIO(newline="")
    if file.of_gpo:
        for row in rows:
            cells = dict(zip(HEADER, row, strict=True))
            written.write(json.dumps(cells, ensure_ascii=False) + "\n")
    else:
        writer = csv.writer(written, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows)
    return written.getvalue().encode()


def _rows(file: OfficialFile, text: str) -> list[Row]:
    if file.benchmark == "bbh":
        return [_bbh(record) for record in json.loads(text)["examples"]]
    read = _gpo if file.of_gpo else {"gsm8k": _gsm8k, "folio": _folio}[file.benchmark]
    return [read(json.loads(line)) for line in text.split("\n") if line.strip()]


def _bbh(record: dict[str, Any]) -> Row:
    answer = record["target"]
    return record["input"], answer, _bare_letter(answer)


def _gpo(record: dict[str, Any]) -> Row:
    # Big-Bench Hard has targets, the others outputs: a text, a number or a list of references.
    answer = record["target"] if "target" in record else record["output"]
    final = answer if isinstance(answer, list) else _bare_letter(str(answer))
    return record["input"], record.get("solution", answer), final


def _bare_letter(answer: str) -> str:
    """``(A)`` as A, because extractors ask for the bare letter; other answers as they are."""
    letter = re.fullmatch(r"\(([A-Z])\)", answer)
    return letter.group(1) if letter else answer


def _gsm8k(record: dict[str, Any]) -> Row:
    # The number after the worked solution; its thousands separators go, as models write none.
    answer = record["answer"]
    return record["question"], answer, answer.rsplit("####", 1)[1].strip().replace(",", "")


def _folio(record: dict[str, Any]) -> Row:
    premises = "\n".join(record["premises"])
    question = (
        f"{premises}\nGiven these premises, is the following conclusion True, False or Uncertain?\n"
        f"{record['conclusion']}"
    )
    # The training file calls Unknown what the validation file calls Uncertain.
    label = record["label"]
    return question, label, "Uncertain" if label == "Unknown" else label


def _read_local(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the mirror has no '{path}' ({error.strerror}); give a folder that holds "
            "bbh/, gsm8k/ and so on with --mirror"
        ) from None


def _download(url: str, file: OfficialFile, part: Path, report: Report, wait: float) -> bytes:
    """The content of ``url``; what an earlier attempt has brought is kept in ``part``."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            report(f"{file.path}: {reason}; trying again in {wait:g} s")
            time.sleep(wait)
            wait *= 2
        try:
            _append(url, file, part)
            raw = part.read_bytes()
            part.unlink()
            return raw
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            part.unlink(missing_ok=True)
            if error.code in (401, 403, 404, 410):
                break
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (ValueError, UnicodeError) as error:
            reason = f"no URL: {error}"
            break
        except (HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(error) or type(error).__name__
    raise InputError(
        f"'{url}' cannot be downloaded ({reason}); connect to the network, or give a folder or "
        "URL that holds the published files with --mirror"
    )


def _append(url: str, file: OfficialFile, part: Path) -> None:
    """Bring what ``part`` still lacks of ``url``."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        held = part.stat().st_size if part.exists() else 0
        if held >= file.bytes:  # nothing is continued whose whole size is unknown
            part.unlink(missing_ok=True)
            held = 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={held}-"} if held else {})
        with urllib.request.urlopen(request, timeout=30) as answer:
            # A server that ignores the range sends everything.
            kept = held if answer.status == 206 else 0
            whole = file.bytes or answer.length or 0
            with part.open("ab" if kept else "wb") as written:
                while block := answer.read(BLOCK):
                    kept += len(block)
                    if kept > whole > 0:
                        raise ConnectionError(f"more than {whole} bytes come")
                    written.write(block)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ValueError):
        raise
    except OSError as error:
        raise unwritable(part, error, "out") from None
    if kept < whole:
        raise ConnectionError(f"{kept} of {whole} bytes came")
