"""The example notebooks: both languages hold the same code, each holds the output of a run, and each runs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"
LANGUAGES = ("en", "ja")


def cells(lang: str, kind: str) -> list[dict[str, Any]]:
    held = json.loads((NOTEBOOKS / f"look-inside.{lang}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in held["cells"] if cell["cell_type"] == kind]


def code(lang: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(lang, "code")]


def test_both_languages_hold_the_same_code() -> None:
    assert [text.replace('LANG = "ja"', 'LANG = "en"') for text in code("ja")] == code("en")
    assert len(cells("en", "markdown")) == len(cells("ja", "markdown")) >= 7


@pytest.mark.parametrize("lang", LANGUAGES)
def test_each_holds_the_output_of_a_run(lang: str) -> None:
    kinds: list[str] = []
    for cell in cells(lang, "code"):
        assert cell["execution_count"] is not None
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr", output
            kinds += list(output.get("data", {}))
    assert kinds.count("image/png") >= 6
    assert "text/html" in kinds  # the trace shows itself
    text = (NOTEBOOKS / f"look-inside.{lang}.ipynb").read_text(encoding="utf-8")
    assert not re.search(r'"[^"]*(?:/home/|/tmp/|/root/|\\\\Users\\\\)', text)
    assert len(text) < 1_000_000


@pytest.mark.e2e
@pytest.mark.parametrize("lang", LANGUAGES)
def test_each_runs(lang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("VITSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("LANG", "ja_JP.UTF-8" if lang == "ja" else "en_US.UTF-8")
    monkeypatch.setitem(os.environ, "JUPYTER_PLATFORM_DIRS", "1")
    notebook = nbformat.read(NOTEBOOKS / f"look-inside.{lang}.ipynb", as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()  # an error in a cell is raised
    shown = [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert len(shown) >= 10
