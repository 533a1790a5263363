"""The page that shows runs: served by ``greater view``, or one file with everything in it.

Both are the same template, styles and scripts. A file names them by their hashes, so that a browser
runs nothing else in it, whatever a prompt says.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

ASSETS = Path(__file__).with_name("assets")
STYLES = ("page.css",)
# In the order in which the page loads them.
SCRIPTS = ("elements.js", "charts.js", "run.js", "tables.js", "page.js")
ICON = "icon.svg"


def served(title: str) -> str:
    """The HTML of a page that fetches its data from the server that it came from."""
    return _rendered(title=title, icon=ICON, styles=STYLES, scripts=SCRIPTS)


def standing_alone(title: str, data: dict[str, Any]) -> str:
    """The HTML of a page that holds ``data`` and needs no network and no other file.

    Args:
        data: ``runs`` as ``Scan.runs`` returns them, ``details`` by id as ``Scan.run`` returns
            them, and ``tables`` as ``table_facts`` makes them.
    """
    styles, scripts = ([Markup(asset(name)) for name in names] for names in (STYLES, SCRIPTS))
    policy = (
        f"default-src 'none'; style-src {_hashes(styles)}; script-src {_hashes(scripts)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return _rendered(
        title=title,
        inline_styles=styles,
        inline_scripts=scripts,
        policy=Markup(policy),
        data=Markup(_in_a_script(data)),
    )


@cache
def asset(name: str) -> str:
    """The text of a style or script."""
    return (ASSETS / name).read_text(encoding="utf-8")


def _rendered(**values: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined
    )
    empty = {"styles": (), "scripts": (), "inline_styles": (), "inline_scripts": ()}
    return environment.get_template("page.html").render(
        **{**empty, "icon": "", "policy": "", "data": "", **values}
    )


def _in_a_script(data: dict[str, Any]) -> str:
    """``data`` as JSON in which nothing ends a script or begins a comment or an entity."""
    text = json.dumps(data, allow_nan=False)  # in ASCII
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hashes(texts: list[Markup]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
