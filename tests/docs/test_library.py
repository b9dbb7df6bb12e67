"""The notebook runs from top to bottom, and what it shows is what it computes."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import pytest

from helpers.places import DOCS

PATH = DOCS / "library.ipynb"


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(PATH, as_version=4)


def test_the_notebook_is_valid_and_shows_its_output(notebook):
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


def test_it_starts_with_one_call(notebook):
    first = next(cell for cell in notebook.cells if "kdpipe." in cell.source)
    assert "`kdpipe.measure` answers" in first.source
    shown = next(cell for cell in notebook.cells if cell.source.startswith("result = kdpipe.mea"))
    (output,) = shown.outputs
    assert "Shared with the teacher" in output["data"]["text/plain"]
    assert output["data"]["text/html"].count("<tr") == 5


def test_it_needs_no_snakemake_and_no_study(notebook):
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "snakemake" not in code
    assert "kdpipe.study.schema" not in code
    assert not re.search(r"from kdpipe\S*\._|import _", code), "only public modules"


def test_it_runs_from_top_to_bottom(notebook, tmp_path, monkeypatch):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, Any] = {"__name__": "notebook"}
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            exec(compile(cell.source, f"library.ipynb, cell {number}", "exec"), names)
    try:
        assert len(pyplot.get_fignums()) == 2
    finally:
        pyplot.close("all")

    claims = names["claims"]
    assert set(claims["probe"]) == {"accuracy", "fidelity", "copied_errors", "cka"}
    assert set(claims["verdict"]) == {"transferred"}

    # What the rest is about: in the unseen domain the distilled are closer to their teacher.
    for name, found in names["comparisons"].items():
        assert (len(found.dist), len(found.ind), found.n_units) == (3, 3, 240), name
        assert found.gap > 0.05, name
        assert found.diff > 0, name
    accuracy = names["comparisons"]["accuracy"]
    assert accuracy.target == pytest.approx(
        names["outcomes"]["accuracy", "teacher"][0]["colour"].mean()
    )
    consensus = names["outcomes"]["consensus", "teacher"][0]
    assert consensus["colour"].min() == 1  # a teacher agrees with itself
