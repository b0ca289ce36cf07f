"""The READMEs: their commands run, their Python runs, both languages say the same commands, and every file they link exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EN, JA = (ROOT / name for name in ("README.md", "README.ja.md"))
BLOCK = re.compile(r"^```(\w+)( notest)?\n(.*?)^```", re.M | re.S)
SMALL = ["--set", "train.duration=1ep", "--set", "data.limit=128", "--set", "model.depth=1"]


def blocks(readme: Path, kind: str, *, tested_only: bool = False) -> list[str]:
    found = BLOCK.findall(readme.read_text(encoding="utf-8"))
    return [text for language, mark, text in found if language == kind and not (tested_only and mark)]


def code_of(block: str) -> list[str]:
    """Commands without their comments and `--lang`, which are the reader's."""
    lines = [re.sub(r" --lang \w+", "", shlex.join(shlex.split(line, comments=True))) for line in block.splitlines()]
    return [line for line in lines if line]


def test_both_languages_show_the_same_commands() -> None:
    assert [code_of(b) for b in blocks(EN, "sh")] == [code_of(b) for b in blocks(JA, "sh")]


def test_both_languages_have_the_same_structure() -> None:
    def shape(readme: Path) -> list[int]:
        text = re.sub(r"^```.*?^```", "", readme.read_text(encoding="utf-8"), flags=re.M | re.S)
        return [len(m) for m in re.findall(r"^(#+) ", text, re.M)]

    assert shape(EN) == shape(JA)


@pytest.mark.parametrize("readme", [EN, JA], ids=["en", "ja"])
def test_links_lead_to_files(readme: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", readme.read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target


@pytest.mark.e2e
def test_the_commands_and_the_python_of_the_readme_run(tmp_path: Path) -> None:
    environment = {**os.environ, "VITSCOPE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    ran = 0
    for block in blocks(EN, "sh", tested_only=True):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] == "vitscope", f"only vitscope's own commands are tested: {line}"
            small = SMALL if words[1] == "train" and "--resume" not in words else []
            command = [sys.executable, "-m", *words, *small]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
            ran += 1
    assert ran >= 8
    for block in blocks(EN, "python"):
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stderr[-2000:]}"
        assert done.stdout.strip()
