"""The READMEs: their commands run, their Python runs, both languages hold the same code, tables and figures, and every link leads to a file.

Sample output is only counted: it is in the reader's language.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
EN, JA = (ROOT / name for name in ("README.md", "README.ja.md"))
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
SMALL = ["--set", "train.duration=1ep", "--set", "data.limit=128", "--set", "model.depth=1"]


def fences(readme: Path) -> list[tuple[str, str]]:
    """The words behind the opening mark (`sh`, `sh notest`, `python`, …) and the text of each block."""
    found: list[tuple[str, str]] = FENCE.findall(readme.read_text(encoding="utf-8"))
    return found


def prose(readme: Path) -> str:
    return FENCE.sub("", readme.read_text(encoding="utf-8"))


def blocks(readme: Path, words: str) -> list[str]:
    return [text for info, text in fences(readme) if info == words]


def code_of(info: str, block: str) -> Any:
    """What a block does, without comments and `--lang`, which are the reader's; nothing of what is only shown."""
    match info.split()[0]:
        case "sh":
            lines = (shlex.join(shlex.split(line, comments=True)) for line in block.splitlines())
            return [re.sub(r" --lang \w+", "", line) for line in lines if line]
        case "python":
            return ast.unparse(ast.parse(block))
        case "yaml":
            return yaml.safe_load(block)
    return None


def tables(readme: Path) -> list[list[str]]:
    """The rows of each table, its head first, without the line of dashes."""
    found = re.findall(r"(?:^\|.*\n)+", prose(readme), re.M)
    return [[row for row in table.splitlines() if not re.fullmatch(r"[|\-: ]+", row)] for table in found]


def measured(readme: Path) -> list[list[list[str]]]:
    """Row by row and cell by cell, the numbers of the table under "Measured", in order of size: languages put them in another order."""
    _, _, rest = readme.read_text(encoding="utf-8").partition("\n## Measured")
    table = re.search(r"(?:^\|.*\n)+", rest, re.M)
    assert table
    return [[sorted(re.findall(r"\d+(?:\.\d+)?", cell)) for cell in row.split("|")] for row in table[0].splitlines()]


def test_both_languages_hold_the_same_code_in_the_same_order() -> None:
    english, japanese = fences(EN), fences(JA)
    assert [info for info, _ in english] == [info for info, _ in japanese]
    for (info, ours), (_, theirs) in zip(english, japanese, strict=True):
        assert code_of(info, ours) == code_of(info, theirs)


def test_both_languages_have_the_same_structure() -> None:
    def shape(readme: Path) -> list[int]:
        return [len(m) for m in re.findall(r"^(#+) ", prose(readme), re.M)]

    assert shape(EN) == shape(JA)
    assert [len(table) for table in tables(EN)] == [len(table) for table in tables(JA)]
    assert len(tables(EN)) >= 5


def test_both_languages_say_the_same_figures() -> None:
    assert measured(EN) == measured(JA)
    assert len(measured(EN)) >= 4


@pytest.mark.parametrize("readme", [EN, JA], ids=["en", "ja"])
def test_links_lead_to_files(readme: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", readme.read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target


@pytest.mark.e2e
def test_the_commands_and_the_python_of_the_readme_run(tmp_path: Path) -> None:
    environment = {**os.environ, "VITSCOPE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    ran = 0
    for block in blocks(EN, "sh"):
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
