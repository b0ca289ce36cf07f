"""Provenance: complete, fit for JSON, and gathered without importing anything heavy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import vitscope
from vitscope.runs import environment

SOURCES = str(Path(__file__).parents[2] / "src")


def test_what_a_result_must_carry() -> None:
    facts = environment()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["vitscope"] == vitscope.__version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "numpy", "accelerate", "datasets"} <= set(facts["packages"])
    assert datetime.fromisoformat(facts["date"]).utcoffset() == timedelta(0)
    assert facts["cpu"]
    assert facts["threads"] >= 1


@pytest.mark.parametrize("program", ["/somewhere/bin/vitscope", "/somewhere/vitscope/__main__.py", "vitscope.exe"])
def test_the_command_stands_as_typed_without_the_place_of_the_program(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [program, "train", "quickstart"])
    assert environment()["command"] == ["vitscope", "train", "quickstart"]


def test_the_commit_is_that_of_this_checkout() -> None:
    commit = environment()["git_commit"]
    assert commit is None or (len(commit) == 40 and int(commit, 16) >= 0)


def test_nothing_heavy_is_imported_to_find_out() -> None:
    program = (
        "import sys; from vitscope.runs import environment; e = environment(); "
        "assert e['accelerators'] is None; "
        "print([n for n in ('torch', 'numpy', 'accelerate', 'datasets', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": SOURCES},
    )
    assert done.stdout == "[]\n"
