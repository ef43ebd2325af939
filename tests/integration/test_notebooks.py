"""Every notebook runs from top to bottom, as it is committed."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def run_notebook(path: Path, folder: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=1000, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore:.*zmq.*")
def test_first_steps_learn_the_phantoms(project_root: Path, tmp_path: Path) -> None:
    notebook = run_notebook(project_root / "notebooks/first_steps.ipynb", tmp_path)
    pictures = [output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in str(output)]
    assert len(pictures) == 3
    rows = json.loads((tmp_path / "first_steps_output/report/results.json").read_text())["rows"]
    assert len(rows) == 2 * 5  # cases by structures, Dice alone
    assert sum(row["value"] for row in rows) / len(rows) > 0.75  # chance, and every organ missed, are near 0


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_without_results(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs"), "clear the outputs before committing"
        assert cell.get("execution_count") is None
