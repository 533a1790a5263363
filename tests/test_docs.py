"""The site builds without a warning, nothing is missing on it, and what pages name exists."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from GReaTer import OptimizeConfig
from prompt_optimization.optimizers.registry import method_names, settings_class
from prompt_optimization.runs.config import all_keys, key_named

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md"))
# Pages that are read in the repository, too; lab notes tell of earlier versions.
TEXTS = ["README.md", "CONTRIBUTING.md", *(f"docs/{p}.md" for p in PAGES if p != "lab_notes")]
# The page that adds a method.
EXAMPLE = "shorten"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built strictly: a link that leads nowhere, or a docstring that cannot be read, fails."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder))
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
        config.plugins.on_shutdown()
    return folder


def text_of(site: Path, page: str) -> str:
    return (site / f"{page}.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole(site: Path, page: str) -> None:
    html = text_of(site, page)
    # Nothing of what is generated is left out, no file of this machine is named, and nothing is
    # fetched from elsewhere.
    assert "generated -->" not in html and str(ROOT) not in html
    assert not re.search(r'<(script|img|iframe)[^>]* src="(https?:)?//', html)
    assert not re.search(r'<link[^>]* rel="(stylesheet|preconnect)"[^>]* href="(https?:)?//', html)


def test_every_setting_is_an_option(site: Path) -> None:
    html = text_of(site, "options")
    missing = [key for key in all_keys() if f'<a id="{key}"></a><code>{key}</code>' not in html]
    assert not missing
    # Within its group too, where that is another name, and each with a meaning.
    paths = [each.path for each in all_keys().values() if f"<code>{each.path}</code>" not in html]
    assert not paths
    assert "<dd>" in html and "<dd></dd>" not in html


def test_an_option_says_what_its_row_says(site: Path) -> None:
    html = text_of(site, "options")
    for each in all_keys().values():
        (described,) = re.findall(rf'<a id="{re.escape(each.name)}"></a>.*?</dd>', html, re.DOTALL)
        assert ("A resumed run may change it." in described) == each.free
        assert all(f"<code>{choice}</code>" in described for choice in each.choices if choice)
        for value in each.by_behaviour.values():
            assert f"<code>{value!r}</code>" in described
        for method in method_names() if each.by_method else ():
            brought = settings_class(method).defaults.get(each.name)
            assert brought is None or f"<code>{method}</code>" in described
        if each.low is not None:
            assert f"at least {each.low:g}" in described


def test_every_key_of_the_library_is_explained(site: Path) -> None:
    html = text_of(site, "library")
    for name in OptimizeConfig():
        (meaning,) = re.findall(
            rf"<tr>\s*<td><code>{re.escape(name)}</code></td>\s*<td>.*?</td>\s*<td>(.*?)</td>", html
        )
        assert meaning


def test_every_public_name_is_documented(site: Path) -> None:
    import GReaTer

    html = text_of(site, "api")
    assert not [name for name in GReaTer.__all__ if name not in html]


def test_every_method_has_a_page(site: Path) -> None:
    overview = text_of(site, "methods/index")
    for name in method_names():
        html = text_of(site, f"methods/{name}")
        assert f'href="{name}.html"' in overview
        headings = re.findall(r"<h2.*?>(.*?)<", html)
        assert {"Cost of a step", "Settings worth knowing"} <= set(headings)


@pytest.mark.parametrize("page", PAGES)
def test_code_of_the_pages_is_python(page: str) -> None:
    markdown = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    for code in re.findall(r"^```python\n(.*?)^```$", markdown, re.S | re.M):
        ast.parse(code)


def is_setting(name: str) -> bool:
    """Whether ``name`` is a setting, or a key inside one that is a dict."""
    outer = key_named(name.rpartition(".")[0])
    return key_named(name) is not None or (outer is not None and outer.kind is dict)


@pytest.mark.parametrize("text", TEXTS)
def test_settings_and_configs_that_a_page_names_exist(text: str) -> None:
    markdown = (ROOT / text).read_text(encoding="utf-8")
    settings = set(re.findall(r"--config\.([a-z][\w.]*)", markdown))
    assert not [name for name in settings if not (is_setting(name) or EXAMPLE in name)]
    configs = {
        *re.findall(r"configs/(\w+)\.py", markdown),
        *re.findall(r"--config=(\w+)(?![\w./])", markdown),
    } - {"CONFIG", EXAMPLE}
    assert not [name for name in configs if not (ROOT / "configs" / f"{name}.py").is_file()]


@pytest.mark.parametrize("text", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_repository_lead_somewhere(text: str) -> None:
    markdown = (ROOT / text).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s#]+)[^)]*\)", markdown)
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


def test_the_tree_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (tree,) = re.findall(r"^```\n(configs/.*?)^```$", text, re.S | re.M)
    folders: list[Path] = []
    named = []
    for line in tree.splitlines():
        indent = len(line) - len(line.lstrip())
        del folders[indent // 2 :]
        names = re.findall(r"^[^\s,]+|(?<=, )[^\s,]+\.py", re.split(r"\s{2,}", line.strip())[0])
        named += [Path(*folders, name) for name in names]
        folders.append(Path(names[0]))
    assert Path("prompt_optimization/runs/store/log.py") in named
    assert not [str(path) for path in named if not (ROOT / path).exists()]


def test_the_example_of_a_method_keeps_the_contract(tmp_path: Path) -> None:
    """The files of the page, put where it says into a copy of the package."""
    for name in ("prompt_optimization", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    page = (ROOT / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
    folder = Path("prompt_optimization/optimizers") / EXAMPLE
    (tmp_path / folder).mkdir()
    for name, code in re.findall(r"^`([\w/]+\.py)`:\n\n```python\n(.*?)^```$", page, re.S | re.M):
        (tmp_path / (name if "/" in name else folder / name)).write_text(code)
    config = f"from prompt_optimization.configs.{EXAMPLE} import get_config; print(get_config())"
    assert f"method: {EXAMPLE}" in output_of("-c", config, folder=tmp_path)
    suite = ["tests/optimizers/test_contract.py", "-n", "0", "-p", "no:cacheprovider"]
    chosen = f"{EXAMPLE} and (folder or killed or twice or log)"
    assert "4 passed" in output_of("-m", "pytest", *suite, "-k", chosen, folder=tmp_path)


def output_of(*arguments: str, folder: Path) -> str:
    """What Python says, with the packages of ``folder``."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
