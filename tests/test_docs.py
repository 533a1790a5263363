"""The site builds without a warning, and no key is missing on it."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from GReaTer import OptimizeConfig
from prompt_optimization.configs.template import get_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))


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


def test_every_key_of_the_template_is_an_option(site: Path) -> None:
    html = text_of(site, "options")
    missing = [key for key in get_config() if f'<a id="{key}"></a><code>{key}</code>' not in html]
    assert not missing
    # Each with a meaning of its own or of its group.
    assert "<dd>" in html and "<dd></dd>" not in html


def test_every_key_of_the_library_is_explained(site: Path) -> None:
    html = text_of(site, "library")
    for each in fields(OptimizeConfig):
        (meaning,) = re.findall(
            rf"<tr>\s*<td><code>{each.name}</code></td>\s*<td>.*?</td>\s*<td>(.*?)</td>", html
        )
        assert meaning


def test_every_public_name_is_documented(site: Path) -> None:
    import GReaTer

    html = text_of(site, "api")
    assert not [name for name in GReaTer.__all__ if name not in html]


@pytest.mark.parametrize("page", PAGES)
def test_code_of_the_pages_is_python(page: str) -> None:
    markdown = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    for code in re.findall(r"^```python\n(.*?)^```$", markdown, re.S | re.M):
        ast.parse(code)
