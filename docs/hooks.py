"""What the site takes from the code when it is built, so that it cannot become outdated.

``options.md`` gets every setting of the harness and ``library.md`` every key of the library, both
from the rows that stand beside the code (``prompt_optimization/keys.py``). The README becomes a
page of its own, with its links led to the pages of the site.
"""

from __future__ import annotations

import ast
import html
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from GReaTer.config import DEFAULTS, NOT_OFFERED_GROUPS, OWN, offered, word_of
from prompt_optimization.keys import KINDS, Key, Settings
from prompt_optimization.optimizers.registry import method_names, settings_class
from prompt_optimization.runs.config import all_keys, groups

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
# Where a page gets what is generated.
MARKER = "<!-- generated -->"

SOURCES = {
    "paper": "the paper",
    "code": "the authors' released scripts",
    "llm-attacks": "llm-attacks",
    "measured": "[measurement](lab_notes.md)",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, README_PAGE, content=LINK.sub(_led, text)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated."""
    made = {"options.md": options_page, "library.md": library_table}.get(page.file.src_uri)
    if made is None:
        return markdown
    assert MARKER in markdown, f"{page.file.src_uri} has no place for what is generated"
    return markdown.replace(MARKER, made())


def options_page() -> str:
    """Markdown of all settings, group by group, then of the ready configs."""
    lines: list[str] = []
    for group in groups():
        lines += ["", f"## {group.group}", "", _prose(" ".join((group.__doc__ or "").split()))]
        if methods := [name for name in method_names() if settings_class(name) is group]:
            lines += ["", f"Read by {_either(methods, 'and')}."]
        lines += ["", '<div class="options" markdown>']
        for each in group.rows():
            lines += ["", _term(each), f":   {_prose(_sentence(each.meaning))}", ""]
            lines += [f"    {_facts(each, group)}"]
        lines += ["", "</div>"]
    lines += ["", "## Ready configs", "", "Each starts from the template and sets what follows."]
    for path in sorted(CONFIGS.glob("[!_]*.py")):
        if path.stem != "template":
            lines += ["", f"### `{path.name}`", "", *_config(path)]
    return "\n".join(lines)


def library_table() -> str:
    """Markdown of the library's keys: its own ones, then those of the harness that it offers."""
    lines = ["| key | default | meaning | in the harness |", "|---|---|---|---|"]
    for name, (default, meaning) in OWN.items():
        lines.append(f"| `{name}` | {_value(default)} | {_cell(_prose(meaning))} | |")
    for name, each in offered().items():
        default = _by_behaviour(each) or _value(DEFAULTS.get(each.name, each.default))
        there = f"[`{each.name}`](options.md#{each.name})"
        lines.append(f"| `{name}` | {default} | {_cell(_prose(each.meaning))} | {there} |")
    return "\n".join(lines)


def _term(each: Key) -> str:
    """The key with its default; links lead here."""
    default = _by_behaviour(each) or _value(each.default)
    return f'<a id="{each.name}"></a>`{each.name}` = {default}'


def _facts(each: Key, group: type[Settings]) -> str:
    """What else a row says, in short sentences."""
    facts = [f"Give {KINDS[each.kind]}{_bounds(each)}."]
    if each.choices:
        facts = [f"Give {_either([choice or repr('') for choice in each.choices], 'or')}."]
    if each.limit:
        facts.append("0 sets no limit.")
    if each.by_behaviour:
        values = (f"`{name}` sets {_value(value)}" for name, value in each.by_behaviour.items())
        facts.append(f"The behaviour {' and '.join(values)}.")
    for name, value in each.by_variant.items():
        facts.append(f"The variant `{name}` sets {_value(value)}.")
    own = {
        method: settings_class(method).defaults[each.name]
        for method in method_names()
        if each.by_method and each.name in settings_class(method).defaults
    }
    for value in dict.fromkeys(own.values()):
        methods = [method for method, brought in own.items() if brought == value]
        facts.append(f"{_either(methods, 'and')} bring {_value(value)}.")
    if each.source:
        sources = [SOURCES[name] for name in each.source.split(", ")]
        facts.append(f"The default is from {' and '.join(sources)}.")
    if each.name != each.path:
        facts.append(f"Within its group: `{each.path}`.")
    if each.aliases:
        facts.append(f"Published commands call it {_either(each.aliases, 'and')}.")
    if each.spellings:
        pairs = (f"`{there}` means `{here}`" for there, here in each.spellings.items())
        facts.append(f"There {', '.join(pairs)}.")
    if word := _library_word(each):
        facts.append(f"In the library: {word}.")
    if each.free:
        facts.append("A resumed run may change it.")
    if each.of_task:
        facts.append("A log brings it along when its prompts are evaluated.")
    if each.reading:
        facts.append("Accuracies that differ in it are not compared.")
    return " ".join(facts)


def _bounds(each: Key) -> str:
    bounds = [
        f"{words} {bound:,.0f}" if bound == int(bound) else f"{words} {bound:g}"
        for words, bound in (("at least", each.low), ("above", each.above), ("at most", each.high))
        if bound is not None
    ]
    return f", {' and '.join(bounds)}" if bounds else ""


def _by_behaviour(each: Key) -> str:
    return "by behaviour" if each.by_behaviour else ""


def _library_word(each: Key) -> str:
    """What the library calls a setting, as Markdown; empty where it has none like it."""
    word = word_of(each.name)
    if word == "the prompt":
        return "the inputs' `prompt`, or `p_init`"
    named = bool(each.library) and each.group not in NOT_OFFERED_GROUPS
    return f"`{word}`" if word in offered() or word in OWN or named else ""


def _config(path: Path) -> list[str]:
    """Markdown of a ready config: the first paragraph about it, and what it sets."""
    tree = ast.parse(source := path.read_text(encoding="utf-8"))
    about = _prose(" ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split()))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if not functions:
        return [about]  # another name of a config
    body = functions[0].body
    # Without the line that takes the template and the one that returns it.
    first, last = body[0].end_lineno or 0, body[-1].lineno - 1
    lines = textwrap.dedent("\n".join(source.splitlines()[first:last])).splitlines()
    return [about, "", "```python", *lines, "```"]


def _value(value: Any) -> str:
    """A default as Markdown."""
    return f"`{getattr(value, '__qualname__', None) or repr(value)}`"


def _either(words: Iterable[str], last: str) -> str:
    """``words`` as an enumeration: `a`, `b` or `c`."""
    *some, final = (f"`{word}`" for word in words)
    return f"{', '.join(some)} {last} {final}" if some else final


def _sentence(text: str) -> str:
    """``text`` with a full stop and a capital, unless it begins with a setting or a value."""
    word = re.split(r"[ ,;]", text)[0]
    first = text[:1] if word in all_keys() or word.endswith(":") else text[:1].upper()
    return f"{first}{text[1:]}" + ("" if text.endswith(".") else ".")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _prose(text: str) -> str:
    """Plain text as Markdown: nothing in it is markup but the names of settings and of pages."""
    known = sorted((name for name in all_keys() if "_" in name), key=len, reverse=True)
    names = "|".join(map(re.escape, known))
    words = re.compile(rf"(`+[^`]+`+|(?<![\w.])(?:{names})(?![\w.]\w|\w)|docs/[\w/]+\.md)")
    parts = []
    for number, part in enumerate(words.split(text)):
        if not number % 2:
            escaped = re.sub(r"([\\`*_{}\[\]()#+!])", r"\\\1", part)
            parts.append(html.escape(escaped, quote=False))
        elif part.startswith("docs/"):
            parts.append(f"[{Path(part).stem.replace('_', ' ')}]({part.removeprefix('docs/')})")
        else:
            parts.append(part if part.startswith("`") else f"[`{part}`](options.md#{part})")
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
