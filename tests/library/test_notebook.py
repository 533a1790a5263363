"""The notebook runs from top to bottom, on the embedded model."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# What its cell of parameters says here: every other cell runs as it is, on a few rows.
SMALL = "n_train, n_dev, n_test, rounds, reasoning_tokens = 4, 2, 6, 2, 8"


@pytest.mark.smollm2
def test_the_notebook_runs() -> None:
    notebook = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    (sizes,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    assert sizes.source.split(" = ")[0] == SMALL.split(" = ")[0]
    sizes.source = SMALL
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(EXAMPLES)}})
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = "".join(
        str(output.get("text", output.get("data", {}).get("text/plain", "")))
        for cell in cells
        for output in cell.outputs
    )
    assert said.count("right: ") == 3 and "difference " in said
    (shown,) = (
        output.data["text/html"]
        for cell in cells
        for output in cell.outputs
        if "GreaterOutputs(" in output.get("data", {}).get("text/plain", "")
    )
    assert "6 test rows" in shown and "actual correct answer" in shown
    assert any("image/png" in output.get("data", {}) for output in cells[-2].outputs)
