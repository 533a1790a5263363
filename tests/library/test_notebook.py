"""The notebook runs from top to bottom, on the embedded model."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.smollm2
def test_the_notebook_runs() -> None:
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(EXAMPLES)}})
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = "".join(
        str(output.get("text", output.get("data", {}).get("text/plain", "")))
        for cell in cells
        for output in cell.outputs
    )
    assert said.count("right: ") == 3 and "difference " in said
    assert any("image/png" in output.get("data", {}) for output in cells[-2].outputs)
