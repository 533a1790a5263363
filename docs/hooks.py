"""What the site takes from the repository when it is built, so that it cannot go stale.

``options.md`` gets every key of the config template with the comments that stand above it there,
and ``library.md`` the keys of ``OptimizeConfig`` with what its docstring says about them. The
README becomes a page of its own, with its links led to the pages of the site.
"""

from __future__ import annotations

import ast
import html
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "prompt_optimization" / "configs"

README_PAGE = "readme_page.md"
# Files of the repository that have a page.
PAGES = {
    "README.md": README_PAGE,
    "prompt_optimization/configs/template.py": "options.md",
    "configs/template.py": "options.md",
}

LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
SECTION = re.compile(r"# --- (.*?) -*$")
# Where a page gets what is generated.
MARKER = "<!-- generated -->"


@dataclass
class Option:
    """Keys that one comment explains, each with its default and what stands behind it."""

    keys: list[tuple[str, str, str]] = field(default_factory=list)
    comment: list[str] = field(default_factory=list)


@dataclass
class Section:
    title: str
    options: list[Option] = field(default_factory=list)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, README_PAGE, content=LINK.sub(_led, text)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated."""
    made = {"options.md": options_page, "library.md": config_table}.get(page.file.src_uri)
    if made is None:
        return markdown
    assert MARKER in markdown, f"{page.file.src_uri} has no place for what is generated"
    return markdown.replace(MARKER, made())


def config_table() -> str:
    """Markdown of the library's keys, in their order."""
    tree = ast.parse((ROOT / "GReaTer" / "config.py").read_text(encoding="utf-8"))
    (made,) = (
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == "OptimizeConfig"
    )
    _, _, attributes = (ast.get_docstring(made) or "").partition("Attributes:")
    meanings: dict[str, str] = {}
    for entry in re.split(r"\n {4}(?! )", attributes)[1:]:
        names, _, meaning = entry.partition(":")
        meanings |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for node in made.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            name, default = node.target.id, ast.unparse(node.value)
            default = "{}" if default.startswith("field(") else default.removeprefix("torch.nn.")
            lines.append(f"| `{name}` | `{default}` | {meanings[name]} |")
    return "\n".join(lines)


def options_page() -> str:
    """Markdown of all keys, section by section, then of the ready configs."""
    source = (CONFIGS / "template.py").read_text(encoding="utf-8")
    sections = list(sections_of(source))
    known = {key for section in sections for option in section.options for key, _, _ in option.keys}
    lines = [_prose(paragraph, known) + "\n" for paragraph in _docstring(source)[1:]]
    for section in sections:
        lines += ["", f"## {_prose(section.title, set())}", "", '<div class="options" markdown>']
        for option in section.options:
            lines += ["", *_terms(option)]
            meaning = " ".join(option.comment) or section.title
            lines += [f":   {_prose(meaning, known)}"]
        lines += ["", "</div>"]
    lines += ["", "## Ready configs", "", "Each starts from the template and sets what follows."]
    for path in sorted(CONFIGS.glob("*.py")):
        if path.stem not in ("__init__", "template"):
            own = path.read_text(encoding="utf-8")
            lines += ["", f"### `{path.name}`", "", _prose(_docstring(own)[0], known), ""]
            lines += ["```python", *_settings(own), "```"]
    return "\n".join(lines)


def _settings(source: str) -> list[str]:
    """The lines between the first and the last one of a config's function."""
    function = _function(source)
    first, last = function.body[0].end_lineno or 0, function.body[-1].lineno - 1
    return textwrap.dedent("\n".join(source.splitlines()[first:last])).splitlines()


def _function(source: str) -> ast.FunctionDef:
    (found,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    return found


def sections_of(source: str) -> Iterator[Section]:
    """Read the assignments to ``config`` off a config file, with the comments above them."""
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    section = Section("")
    function = _function(source)
    before = function.lineno
    for node in function.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Attribute):
            continue
        above = [comments[line] for line in range(before + 1, node.lineno) if line in comments]
        before = node.end_lineno or node.lineno
        behind = comments.get(before, "")
        for number, comment in enumerate(above):
            if title := SECTION.match(comment):
                if section.options:
                    yield section
                section, above = Section(title[1]), above[number + 1 :]
                break
        if above or not section.options or behind:
            section.options.append(Option(comment=[_bare(line) for line in above]))
        section.options[-1].keys.append(
            (node.targets[0].attr, _default(source, node.value), _bare(behind))
        )
    if section.options:
        yield section


def _default(source: str, value: ast.expr) -> str:
    written = ast.get_source_segment(source, value) or ""
    if written.startswith("placeholder("):
        return "by behaviour"
    return "{}" if written.startswith("ConfigDict(") else written


def _terms(option: Option) -> list[str]:
    """The keys of an option, as terms of a definition list."""
    return [
        f'<a id="{key}"></a>`{key}` = '
        + (default if default == "by behaviour" else f"`{default}`")
        + (f" ({_prose(behind, set())})" if behind else "")
        for key, default, behind in option.keys
    ]


def _bare(comment: str) -> str:
    return comment.lstrip("# ").rstrip()


def _docstring(source: str) -> list[str]:
    """Paragraphs of a file's docstring."""
    text = ast.get_docstring(ast.parse(source)) or ""
    return [" ".join(part.split()) for part in text.split("\n\n")]


def _prose(text: str, known: set[str]) -> str:
    """A comment as Markdown: nothing in it is markup but the names of keys and of pages."""
    keys = "|".join(sorted((key for key in known if "_" in key), key=len, reverse=True))
    words = re.compile(rf"(`+[^`]+`+|\b(?:{keys})\b|docs/\w+\.md)" if keys else r"(`+[^`]+`+)")
    parts = []
    for place, part in enumerate(words.split(text)):
        if not place % 2:
            escaped = html.escape(re.sub(r"([\\`*_{}\[\]()#+!])", r"\\\1", part), quote=False)
            parts.append(escaped)
        elif part.startswith("docs/"):
            parts.append(f"[{Path(part).stem.replace('_', ' ')}]({Path(part).name})")
        else:
            parts.append(part if part.startswith("`") else f"[`{part}`](#{part})")
    return "".join(parts)


def _led(link: re.Match[str]) -> str:
    """A link of the README on the site: to a page, or, where there is none, only its text."""
    text, target = link.groups()
    path, hash_, anchor = target.partition("#")
    if not path or "://" in path:
        return link[0]
    page = PAGES.get(path)
    if page is None and path.startswith("docs/"):
        page = path.removeprefix("docs/")
    return f"[{text}]({page}{hash_}{anchor})" if page else f"{text} (`{path}`)"
